/**
 * Client: the door of those who embed StateMQ in a service. One connection, any number of producers and consumers.
 */
import { connectNats } from '../transport/nats.ts'
import { subjectsOf } from '../transport/subjects.ts'
import type { Transport } from '../transport/transport.ts'
import { Admin } from './admin/admin.ts'
import { Inspect } from './admin/inspect.ts'
import { Consumer } from './consumer/consumer.ts'
import type { ConsumerOptions } from './consumer/consumer-options.ts'
import { Reader, type ReaderOptions } from './consumer/reader.ts'
import { SimpleConsumer } from './consumer/simple/simple-consumer.ts'
import type { SimpleConsumerOptions } from './consumer/simple/simple-options.ts'
import { errorOfFailure, StateMQError } from './errors.ts'
import { createDirectory } from './node/inspection.ts'
import type { Process } from './node/process.ts'
import { clusterName, type LocalWorld, localWorld, processId, serversOf } from './node/surroundings.ts'
import type { World } from './node/world.ts'
import { type Names, refuseUnknown } from './options.ts'
import { Producer } from './producer/producer.ts'
import type { ProducerOptions } from './producer/producer-options.ts'

export type ConnectOptions = {
  /** One, or a list, or several with commas between; default 'nats://127.0.0.1:4222', or STATEMQ_SERVERS. */
  servers?: string | readonly string[]
  /** Default 'default', or STATEMQ_CLUSTER. */
  cluster?: string
  /** Credentials for a nats-server that asks for them. `creds` is the content of a .creds file. */
  token?: string
  user?: string
  pass?: string
  creds?: string
  tls?: object
  /** In place of `servers`: the transport of a node in this process. */
  transport?: Transport
  /** What is not left to the machine; for tests and simulations. */
  world?: Partial<LocalWorld>
}

// biome-ignore format: one name a line says no more
const connectOptions: Names<ConnectOptions> = {
  servers: true, cluster: true, token: true, user: true, pass: true, creds: true,
  tls: true, transport: true, world: true,
}

/** Connects to a cluster. Rejects with NO_RESPONDERS, TIMED_OUT or DISCONNECTED when no server is there. */
export async function connect(options: ConnectOptions = {}): Promise<Client> {
  refuseUnknown('connect', options, connectOptions)
  const cluster = clusterName(options.cluster)
  const local = localWorld(options.world)
  const id = processId(local.random)
  const { servers: given, transport: shared, world: _, cluster: __, ...credentials } = options
  if (shared) return new Client(id, cluster, { ...local, transport: shared }, async () => {})
  const servers = serversOf(given)
  const transport = await new Promise<Transport>((resolve, reject) =>
    connectNats({ servers, name: id, ...local, ...credentials }, (outcome) =>
      outcome.ok ? resolve(outcome.value) : reject(errorOfFailure(outcome.failure)),
    ),
  )
  return new Client(
    id,
    cluster,
    { ...local, transport },
    () => new Promise<void>((closed) => transport.close(closed)),
  )
}

type Closeable = { close(): Promise<unknown> }

export class Client {
  readonly #process: Process
  readonly #leave: () => Promise<void>
  readonly #open = new Set<Closeable>()
  #inspect: Inspect | null = null
  #consumers = 0
  #closing: Promise<void> | null = null

  /** Use `connect`. */
  constructor(id: string, cluster: string, world: World, leave: () => Promise<void>) {
    const subjects = subjectsOf(cluster)
    const directory = createDirectory(id, world.transport, subjects, world.clock)
    this.#process = { id, world, subjects, directory }
    this.#leave = leave
  }

  producer(options: ProducerOptions = {}): Producer {
    this.#refuseWhenClosed()
    const producer: Producer = new Producer(this.#process, options, () => this.#open.delete(producer))
    this.#open.add(producer)
    return producer
  }

  consumer(options: ConsumerOptions): Consumer {
    this.#refuseWhenClosed()
    const clientId = `${this.#process.id}-${++this.#consumers}`
    const consumer: Consumer = new Consumer(this.#process, options, clientId, () =>
      this.#open.delete(consumer),
    )
    this.#open.add(consumer)
    return consumer
  }

  /** Receives and acknowledges message by message; any number of them share a queue. */
  simpleConsumer(options: SimpleConsumerOptions): SimpleConsumer {
    this.#refuseWhenClosed()
    const clientId = `${this.#process.id}-${++this.#consumers}`
    const consumer: SimpleConsumer = new SimpleConsumer(this.#process, options, clientId, () =>
      this.#open.delete(consumer),
    )
    this.#open.add(consumer)
    return consumer
  }

  /** Reads a topic without a group. */
  reader(options: ReaderOptions): Reader {
    this.#refuseWhenClosed()
    const reader: Reader = new Reader(this.#process, options, () => this.#open.delete(reader))
    this.#open.add(reader)
    return reader
  }

  admin(): Admin {
    this.#refuseWhenClosed()
    return new Admin(this.#process)
  }

  inspect(): Inspect {
    this.#refuseWhenClosed()
    this.#inspect ??= new Inspect(this.#process)
    return this.#inspect
  }

  /** Drains: handlers that run end and are committed, sends that were accepted are settled; then it disconnects. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const open = [...this.#open]
    await Promise.all(open.filter((one) => !(one instanceof Producer)).map((one) => one.close()))
    await Promise.all(open.filter((one) => one instanceof Producer).map((one) => one.close()))
    this.#inspect?.close()
    this.#process.directory.close()
    await this.#leave()
  }

  #refuseWhenClosed(): void {
    if (this.#closing) throw new StateMQError('CLOSED', 'the client is closed: connect() again')
  }
}
