/**
 * Register server: a node keeps the register of its cluster in one file, for clusters without JetStream.
 *
 * A swap is answered 'ok' AFTER it is on disk, and swaps are done one AFTER the other. When a write fails, nobody knows
 * what the file holds: the swap is answered with a refusal, which its client takes for 'unknown', and NO swap is done
 * BEFORE the file was read again and what it holds was written once more. So it is at the start: what another process
 * wrote last may be lost with the power until then.
 *
 * One server a cluster: the lock keeps a second one out of the folder, and who starts asks BEFORE it serves whether
 * somebody else does. Two that are started at the same moment in two folders are not told apart.
 */
import { brokerNameFault } from '../../machines/names.ts'
import type { Answer } from '../../transport/codec.ts'
import { accept, ask as askFor, encode, refuse, serve, tell } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import type { Outcome } from '../../transport/failures.ts'
import { readRequest, type SwapAnswer, type SwapRequest, swapRequest } from '../../transport/messages.ts'
import { type Held, VALUE_BYTES_MAX } from '../../transport/register.ts'
import type { Subjects } from '../../transport/subjects.ts'
import type { Subscription } from '../../transport/transport.ts'
import { ask, attempt, refuse as giveUp, must, need } from '../broker/store/asking.ts'
import { type RegisterValues, registerBytes, registerValues } from './register-file.ts'
import type { World } from './world.ts'

export interface RegisterServer {
  /** Finishes the write under way, answers it, and gives the folder back. Calls back once. */
  close(done: () => void): void
}

type Order = SwapRequest & { answer: (answer: Answer<SwapAnswer>) => void }
type ServerWorld = Pick<World, 'clock' | 'disk' | 'transport' | 'log'>

const SETTLE_RETRY_MS = 1_000
const OTHER_SERVER_MS = 1_000

/** Calls back when it serves, or with why it cannot. The file is `register.json` in this folder, which it takes. */
export function serveRegister(
  world: ServerWorld,
  subjects: Subjects,
  folder: string,
  done: (outcome: Outcome<RegisterServer>) => void,
): void {
  const start = attempt(async () => {
    const lock = await need<{ release(): void }>((locked) => world.disk.lock(folder, locked))
    const server = new Server(world, subjects, `${folder}/register.json`, lock)
    try {
      await refuseSecond(world, subjects)
      await server.start()
      return server
    } catch (error) {
      lock.release()
      throw error
    }
  })
  start.then(done)
}

async function refuseSecond({ transport }: ServerWorld, { register }: Subjects): Promise<void> {
  const outcome = await ask<unknown>((answered) =>
    askFor(transport, register.read, { key: 'any' }, OTHER_SERVER_MS, answered),
  )
  if (!outcome.ok && outcome.failure.code === 'noResponders') return
  if (!outcome.ok && outcome.failure.code !== 'timedOut') must(outcome)
  giveUp(
    'inUse',
    'another node serves the register of this cluster: only one node may, let this one do without',
  )
}

class Server implements RegisterServer {
  readonly #world: ServerWorld
  readonly #register: Subjects['register']
  readonly #path: string
  readonly #lock: { release(): void }
  /** What is surely on disk. */
  #values: RegisterValues = new Map()
  #orders: Order[] = []
  #state: 'idle' | 'writing' | 'settling' | 'waiting' = 'idle'
  #subscriptions: Subscription[] = []
  #retry: unknown
  #closers: (() => void)[] | null = null

  constructor(world: ServerWorld, { register }: Subjects, path: string, lock: { release(): void }) {
    this.#world = world
    this.#register = register
    this.#path = path
    this.#lock = lock
  }

  async start(): Promise<void> {
    const { transport } = this.#world
    this.#values = must(await this.#settle())
    this.#subscriptions = [
      serve(transport, this.#register.read, readRequest, ({ key }, answer) =>
        answer(accept(this.#values.get(key) ?? null)),
      ),
      serve(transport, this.#register.swap, swapRequest, (request, answer) =>
        this.#take({ ...request, answer }),
      ),
    ]
    await need<void>((flushed) => transport.flush(flushed))
  }

  close(done: () => void): void {
    const { clock } = this.#world
    if (this.#closers !== null) return void this.#closers.push(done)
    this.#closers = [done]
    for (const subscription of this.#subscriptions) subscription.unsubscribe()
    clock.clearTimeout(this.#retry)
    if (this.#state === 'idle' || this.#state === 'waiting') clock.defer(() => this.#finish())
  }

  #finish(): void {
    this.#refuseAll()
    this.#lock.release()
    for (const done of this.#closers!) done()
  }

  #take(order: Order): void {
    const fault = faultOf(order)
    if (fault !== null) return order.answer(refuse(codes.INVALID_PARAMETER, fault))
    this.#orders.push(order)
    if (this.#state === 'settling' || this.#state === 'waiting') this.#refuseAll()
    else this.#work()
  }

  #refuseAll(): void {
    const sentence = 'the register is not writing at this moment: nothing was done, try again'
    for (const { answer } of this.#orders.splice(0)) answer(refuse(codes.SYSTEM_BUSY, sentence))
  }

  #work(): void {
    while (this.#state === 'idle' && this.#orders.length > 0) this.#carryOut(this.#orders.shift()!)
  }

  #carryOut({ key, expected, value, answer }: Order): void {
    const { disk, transport, log } = this.#world
    const held = this.#values.get(key) ?? null
    if ((held?.revision ?? 0) !== expected) return answer(accept({ result: 'conflict', held }))
    const next: Held = { revision: expected + 1, value }
    const values = new Map(this.#values).set(key, next)
    this.#state = 'writing'
    disk.replaceFile(this.#path, registerBytes(values), (outcome) => {
      this.#state = 'idle'
      if (outcome.ok) {
        this.#values = values
        answer(accept({ result: 'ok', revision: next.revision }))
        tell(transport, this.#register.changed(key), next)
      } else {
        const { message } = outcome.failure
        log.error('the register could not be written: it takes no swap until it was read again', { message })
        answer(refuse(codes.SYSTEM_ERROR, `whether it was done is unknown: ${message}`))
      }
      if (this.#closers !== null) this.#finish()
      else if (outcome.ok) this.#work()
      else this.#recover()
    })
  }

  /** AFTER it, memory and disk hold the same, and no power cut takes it back. */
  #settle(): Promise<Outcome<RegisterValues>> {
    const { disk } = this.#world
    return attempt(async () => {
      const bytes = await need<Buffer | null>((read) => disk.readFile(this.#path, read))
      const values = must(registerValues(this.#path, bytes))
      for (const [key, { revision }] of this.#values)
        if ((values.get(key)?.revision ?? 0) < revision)
          giveUp('malformed', goneBack(this.#path, key, revision))
      await need<void>((written) => disk.replaceFile(this.#path, registerBytes(values), written))
      return values
    })
  }

  async #recover(): Promise<void> {
    const { clock, log } = this.#world
    this.#state = 'settling'
    this.#refuseAll()
    const outcome = await this.#settle()
    this.#state = 'waiting'
    if (outcome.ok) {
      this.#values = outcome.value
      this.#state = 'idle'
      log.info('the register is written again')
    } else log.error('the register cannot be read and written again', { message: outcome.failure.message })
    if (this.#closers !== null) this.#finish()
    else if (!outcome.ok) this.#retry = clock.setTimeout(() => void this.#recover(), SETTLE_RETRY_MS)
  }
}

/** Clients of ours check both; this keeps the file safe from others. */
function faultOf({ key, value }: Order): string | null {
  const bytes = encode(value).length
  if (bytes > VALUE_BYTES_MAX)
    return `the value has ${bytes} bytes: the register holds ${VALUE_BYTES_MAX} a key`
  return brokerNameFault(key)?.message ?? null
}

const goneBack = (path: string, key: string, revision: number): string =>
  `${path} was removed or replaced while it was in use: '${key}' was at revision ${revision}; put the file back`
