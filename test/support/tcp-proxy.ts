/**
 * A TCP proxy: the network between a client and a server, with the faults that only a network has.
 *
 * Bytes of one direction NEVER overtake each other, whatever the delay. A connection that lost bytes in a cut is reset
 * when the cut is healed: TCP gives up a connection, it never leaves out what was in it. The same seed draws the same
 * jitter and the same damage, as far as the bytes come in the same chunks.
 */
import net from 'node:net'
import type { FindPieces, Piece } from './nats-payloads.ts'
import { seededRandom } from './seeded-random.ts'

/** 'in': from clients to the server; 'out': from the server to clients. */
export type Direction = 'in' | 'out' | 'both'

export type Damage = {
  readonly direction?: Direction
  /** Of each chunk, or of each piece of a payload. */
  readonly probability?: number
  /** Stops AFTER so many bytes were changed. */
  readonly times?: number
  /** Spares chunks, or payloads, that are not larger. */
  readonly largerThan?: number
  /** Spares all but payloads; needs `findPieces`. */
  readonly payloadsOnly?: boolean
}

export interface TcpProxy {
  readonly port: number
  /** How many are open. */
  readonly connections: number
  /** Of all connections, up to now. */
  readonly swallowedBytes: number
  readonly damagedBytes: number
  /** Read and not yet passed on. */
  readonly waitingBytes: number
  /** Bytes that come from now on wait for `ms` and up to `jitterMs` more. */
  delay(ms: number, jitterMs?: number): void
  /** Bytes, ends and resets are swallowed, and the connections stay. */
  cut(direction: Direction): void
  /** Bytes wait until `heal`: a cut that is shorter than TCP's patience. */
  hold(direction: Direction): void
  /** Resets all connections; new ones are taken. */
  reset(): void
  /** One bit of one byte changes. */
  corrupt(damage?: Damage): void
  /** Ends every fault. */
  heal(): void
  close(): Promise<void>
}

export type TcpProxyOptions = {
  readonly seed?: number
  /** Makes what tells payloads from the rest, for one direction of one connection: see nats-payloads.ts. */
  readonly findPieces?: () => FindPieces
}

/** A direction that holds more than this is not read from: its sender feels it. */
const MAX_WAITING_BYTES = 1024 * 1024
const wholeChunk: FindPieces = (chunk) => [{ from: 0, to: chunk.length, bytes: chunk.length }]

export async function startProxy(
  targetPort: number,
  { seed = 1, findPieces = () => wholeChunk }: TcpProxyOptions = {},
): Promise<TcpProxy> {
  const faults = createFaults(seed)
  const links = new Set<Link>()

  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const target = net.connect({ host: '127.0.0.1', port: targetPort, allowHalfOpen: true, noDelay: true })
    const link = createLink(client, target, faults, findPieces)
    links.add(link)
    link.ended(() => links.delete(link))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })

  const reset = () => {
    for (const link of links) link.reset()
  }
  return {
    port: (server.address() as net.AddressInfo).port,
    get connections() {
      return links.size
    },
    get swallowedBytes() {
      return faults.swallowedBytes
    },
    get damagedBytes() {
      return faults.damagedBytes
    },
    get waitingBytes() {
      return [...links].reduce((sum, { waitingBytes }) => sum + waitingBytes(), 0)
    },
    delay(ms, jitterMs = 0) {
      faults.delayMs = ms
      faults.jitterMs = jitterMs
    },
    cut: (direction) => void faults.cuts.add(direction),
    hold: (direction) => void faults.holds.add(direction),
    reset,
    corrupt(damage = {}) {
      faults.damage = damage
      faults.damageLeft = damage.times ?? Number.POSITIVE_INFINITY
    },
    heal() {
      Object.assign(faults, { delayMs: 0, jitterMs: 0, damage: null })
      faults.cuts.clear()
      faults.holds.clear()
      for (const link of links) link.heal()
    },
    close() {
      reset()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

// -------------------------------------------------------------------------------------------------- what is wrong

type Faults = ReturnType<typeof createFaults>
type OneWay = Exclude<Direction, 'both'>

function createFaults(seed: number) {
  const random = seededRandom(seed)
  const faults = {
    delayMs: 0,
    jitterMs: 0,
    cuts: new Set<Direction>(),
    holds: new Set<Direction>(),
    damage: null as Damage | null,
    damageLeft: 0,
    damagedBytes: 0,
    swallowedBytes: 0,
    isCut: (way: OneWay) => faults.cuts.has(way) || faults.cuts.has('both'),
    isHeld: (way: OneWay) => faults.holds.has(way) || faults.holds.has('both'),
    waitMs: () => faults.delayMs + random.next() * faults.jitterMs,
    damageSome(way: OneWay, chunk: Buffer, payloads: readonly Piece[]): void {
      const { damage } = faults
      if (damage === null) return
      const { direction = 'both', probability = 1, largerThan = 0, payloadsOnly = false } = damage
      if (direction !== 'both' && direction !== way) return
      for (const { from, to, bytes } of payloadsOnly ? payloads : wholeChunk(chunk)) {
        if (bytes <= largerThan || faults.damageLeft <= 0 || random.next() >= probability) continue
        chunk[from + random.below(to - from)]! ^= 1 << random.below(8)
        faults.damageLeft--
        faults.damagedBytes++
      }
    },
  }
  return faults
}

// ------------------------------------------------------------------------------------------------ one connection

type Link = {
  waitingBytes(): number
  heal(): void
  reset(): void
  ended(hear: () => void): void
}

function createLink(
  client: net.Socket,
  target: net.Socket,
  faults: Faults,
  findPieces: () => FindPieces,
): Link {
  const lanes = [
    createLane('in', client, target, faults, findPieces()),
    createLane('out', target, client, faults, findPieces()),
  ]
  const sockets = [client, target]
  const reset = () => {
    for (const lane of lanes) lane.clear()
    for (const socket of sockets) socket.resetAndDestroy()
  }
  let open = sockets.length
  let ended = () => {}
  for (const socket of sockets) socket.on('close', () => void (--open === 0 && ended()))
  return {
    waitingBytes: () => lanes.reduce((sum, lane) => sum + lane.waitingBytes(), 0),
    heal() {
      if (lanes.some((lane) => lane.hasLost())) reset()
      else for (const lane of lanes) lane.heal()
    },
    reset,
    ended(hear) {
      ended = hear
    },
  }
}

/** One direction of a connection. A null in the queue is the sender's end. */
function createLane(way: OneWay, from: net.Socket, to: net.Socket, faults: Faults, find: FindPieces) {
  let queue: { bytes: Buffer | null; at: number }[] = []
  let waiting = 0
  let lastAt = 0
  let lost = false
  let timer: NodeJS.Timeout | undefined

  function take(bytes: Buffer | null): void {
    const payloads = bytes === null ? [] : find(bytes)
    if (faults.isCut(way)) {
      lost = true
      faults.swallowedBytes += bytes?.length ?? 0
      return
    }
    if (bytes !== null) faults.damageSome(way, bytes, payloads)
    lastAt = Math.max(lastAt, performance.now() + faults.waitMs())
    queue.push({ bytes, at: lastAt })
    waiting += bytes?.length ?? 0
    if (waiting > MAX_WAITING_BYTES) from.pause()
    pass()
  }

  function pass(): void {
    clearTimeout(timer)
    if (faults.isHeld(way) || to.writableNeedDrain) return
    const now = performance.now()
    while (queue.length > 0 && queue[0]!.at <= now && !to.writableNeedDrain) {
      const { bytes } = queue.shift()!
      waiting -= bytes?.length ?? 0
      if (!to.writable) continue
      if (bytes === null) to.end()
      else to.write(bytes)
    }
    if (waiting <= MAX_WAITING_BYTES) from.resume()
    if (queue.length > 0) timer = setTimeout(pass, queue[0]!.at - now)
  }

  from.on('data', take)
  from.on('end', () => take(null))
  from.on('error', () => {}) // A 'close' follows.
  from.on('close', (hadError) => {
    if (!hadError) return
    if (faults.isCut(way)) lost = true
    else to.resetAndDestroy()
  })
  to.on('drain', pass)
  to.on('close', () => clearTimeout(timer))

  return {
    waitingBytes: () => waiting,
    hasLost: () => lost,
    heal() {
      lastAt = 0
      for (const entry of queue) entry.at = 0
      pass()
    },
    clear() {
      clearTimeout(timer)
      queue = []
      waiting = 0
    },
  }
}
