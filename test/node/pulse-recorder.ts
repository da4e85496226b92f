/** The thread of `startRecorder`. */
import { parentPort, workerData } from 'node:worker_threads'
import { probe } from '../../actors/node/probe.ts'
import { hear } from '../../transport/codec.ts'
import { replicaBeat } from '../../transport/messages.ts'
import { connectTo, flush } from '../support/transports.ts'
import { beatOf, places, type Recording, subjects } from './pulse-support.ts'

const { url, memory } = workerData as Recording
const counts = new Int32Array(memory)
const { brokerName, brokerId } = beatOf()
const transport = await connectTo(url)
hear(
  transport,
  subjects.replicas(brokerName).beat,
  replicaBeat,
  () => void Atomics.add(counts, places.beats, 1),
)
await flush(transport)
ping()
parentPort!.postMessage('ready')

function ping(): void {
  probe(transport, subjects, brokerName, brokerId, 500, (sign) => {
    if (sign === 'unreachable') {
      Atomics.store(counts, places.beatsWhenUnreachable, Atomics.load(counts, places.beats))
      Atomics.add(counts, places.unreachable, 1)
    } else if (sign !== 'silent') Atomics.add(counts, places.pongs, 1)
    setTimeout(ping, 5)
  })
}
