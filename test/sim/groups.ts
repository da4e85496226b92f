/**
 * What a simulation knows of its replicated brokers, and believes of nobody: who is master comes from the register, who
 * lives from the wire, what a log holds from the disk.
 *
 * It also is the person who is called when NO replica is left that holds all confirmed messages: it orders the longest
 * log, but ONLY when every member of the set may have lost something. A group that waits for less has a bug.
 */
import type { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import type { GroupState, Head } from '../../machines/group-state.ts'
import type { ReplicaBeat } from '../../transport/messages.ts'
import type { Held } from '../../transport/register.ts'
import type { HistoryEvent } from '../support/history.ts'
import type { SimulatedWorld } from './world.ts'

export type ReplicaOnDisk = { readonly label: string; readonly disk: SimulatedDisk; readonly folder: string }

const CUT = /^broker\/(.+)\/(\d+): (\d+) bytes with (\d+) messages were cut from the end of the log/
const FINISHED_CUT =
  /^a cut of the log in data\/(.+)-(\d+) to position \d+ is finished, ()(\d+) messages are gone/

export class BrokerGroupsOfSimulation {
  readonly #world: SimulatedWorld
  readonly #happened: (event: HistoryEvent) => void
  readonly #heads = new Map<string, Head>()
  /** By broker name and id. */
  readonly #beats = new Map<string, ReplicaBeat & { at: number; from: string }>()
  /** By process. */
  readonly #cuts = new Map<string, { bytes: number; messages: number }>()
  #headAt = 0

  constructor(world: SimulatedWorld, happened: (event: HistoryEvent) => void) {
    this.#world = world
    this.#happened = happened
    world.overheard = (who, message) => this.#overheard(who, message)
  }

  /** From its first state in the register on. */
  form(brokerName: string, replication: 'sync' | 'async', maxLagBytes: number): void {
    this.#happened({ type: 'group.formed', broker: brokerName, replication, maxLagBytes })
    this.#world.register.observe().watch(brokerName, (held) => this.#changed(brokerName, held))
  }

  #changed(broker: string, { value, revision }: Held): void {
    const { state } = value as unknown as { state: GroupState }
    this.#heads.set(broker, { ...state, revision })
    this.#headAt = this.#world.clock.monotonic()
    const { epoch, masterId, cause, syncStateSet } = state
    const members = syncStateSet.map(({ brokerId }) => brokerId)
    this.#happened({ type: 'head.changed', broker, epoch, masterId, members, cause })
    this.#world.tell(broker, `epoch ${epoch}: master ${masterId}, in sync ${members.join(' ')} (${cause})`)
  }

  heard(beat: ReplicaBeat, from: string): void {
    const at = this.#world.clock.monotonic()
    this.#beats.set(`${beat.brokerName}/${beat.brokerId}`, { ...beat, at, from })
  }

  #overheard(process: string, message: string): void {
    const found = CUT.exec(message) ?? FINISHED_CUT.exec(message)
    if (found === null) return
    const [, broker = '', id, bytes, messages] = found
    this.#happened({ type: 'log.cut', broker, replica: Number(id), messages: Number(messages) })
    if (bytes !== '') this.#cuts.set(process, { bytes: Number(bytes), messages: Number(messages) })
  }

  /** What a process said that it cut last; null when it did not. */
  lastCutOf(process: string): { bytes: number; messages: number } | null {
    return this.#cuts.get(process) ?? null
  }

  head(brokerName: string): Head | null {
    return this.#heads.get(brokerName) ?? null
  }

  /** When a head changed last, of any group. */
  get headAt(): number {
    return this.#headAt
  }

  beat(brokerName: string, brokerId: number): ReplicaBeat | null {
    return this.#beats.get(`${brokerName}/${brokerId}`) ?? null
  }

  /** Why it is not yet as it should be; null when a master serves and all replicas are in sync. */
  trouble(brokerName: string, replicas: number): string | null {
    const head = this.head(brokerName)
    if (head === null) return `${brokerName} has no state`
    const { masterId, epoch, syncStateSet } = head
    if (masterId === null) return `${brokerName} has no master`
    const beats = Array.from({ length: replicas }, (_, id) => this.beat(brokerName, id))
    for (const [id, beat] of beats.entries()) {
      const role = id === masterId ? 'master' : 'slave'
      if (beat?.role !== role || beat.epoch !== epoch)
        return `${brokerName}/${id} is ${beat?.role} of epoch ${beat?.epoch}, and should be ${role} of ${epoch}`
      if (beat.endPosition !== beats[masterId]?.endPosition)
        return `${brokerName}/${id} ends at ${beat.endPosition}, its master at ${beats[masterId]?.endPosition}`
    }
    if (syncStateSet.length < replicas)
      return `${brokerName} has ${syncStateSet.map(({ brokerId }) => brokerId).join(' ')} in sync of ${replicas}`
    return null
  }

  /** Whom a person would order to be master. Null: somebody who lives holds all that is confirmed. */
  lastResort(brokerName: string, replicas: number): number | null {
    const { syncStateSet = [] } = this.head(brokerName) ?? {}
    const beats = Array.from({ length: replicas }, (_, id) => this.beat(brokerName, id))
    const mayHaveAll = syncStateSet.some(
      ({ brokerId, lineage }) => (beats[brokerId]?.lineage ?? lineage) === lineage,
    )
    if (mayHaveAll || beats.some((beat) => beat === null)) return null
    const longest = beats.sort((a, b) => b!.lastEpoch - a!.lastEpoch || b!.endPosition - a!.endPosition)[0]!
    return longest.brokerId
  }
}

/** What is different in the logs of replicas, as far as they overlap; null when nothing is. */
export function differenceOf(replicas: readonly ReplicaOnDisk[]): string | null {
  const logs = replicas.map((replica) => ({ ...replica, ...logOf(replica) }))
  const first = logs[0]!
  for (const other of logs.slice(1)) {
    if (other.end !== first.end) return `${first.label} ends at ${first.end}, ${other.label} at ${other.end}`
    const from = Math.max(first.start, other.start)
    const [a, b] = [first.bytes.subarray(from - first.start), other.bytes.subarray(from - other.start)]
    if (a.equals(b)) continue
    const at = a.findIndex((byte, i) => byte !== b[i])
    return `the logs of ${first.label} and ${other.label} differ at ${from + at}`
  }
  return null
}

function logOf({ disk, folder, label }: ReplicaOnDisk): { start: number; end: number; bytes: Buffer } {
  const paths = disk.paths.filter((path) => path.startsWith(`${folder}/log/`) && path.endsWith('.log'))
  const starts = paths.map((path) => Number(path.slice(`${folder}/log/`.length, -'.log'.length)))
  const parts = paths.map((path) => disk.readFile(path)!)
  const start = starts[0] ?? 0
  let end = start
  for (const [i, part] of parts.entries()) {
    if (starts[i] !== end) throw new Error(`the log of ${label} has a gap: ${end} to ${starts[i]}`)
    end += part.length
  }
  return { start, end, bytes: Buffer.concat(parts) }
}
