/**
 * Reads what NATS clients send: bytes in, orders out.
 *
 * Control lines end at a line feed; a payload has the length that its line named and is followed by CR LF. Chunks may
 * break anywhere. Nothing is copied but what a chunk's end cuts in two, and nothing unbounded is kept: a line has at
 * most 4 KiB, a payload at most the listener's limit.
 *
 * Invariant: how the stream is cut into chunks NEVER changes the orders. After a Violation the parser is dead.
 * NATS: docs.nats.io/reference/reference-protocols/nats-protocol; nats-server 2.9 is the oracle for what is an error.
 */

/** What a client may order. Payloads are the hearer's: no later chunk is written over them. */
export interface Orders {
  readonly maxPayload: number
  /** Whether this client may send headers. */
  readonly headers: boolean
  connect(options: string): void
  ping(): void
  pong(): void
  publish(subject: string, reply: string, block: Buffer | undefined, payload: Buffer): void
  subscribe(subject: string, queue: string, sid: string): void
  unsubscribe(sid: string, max: number): void
}

/** Ends the connection. `tell` is what the client is told before, if nats-server tells it anything. */
export class Violation extends Error {
  override readonly name = 'Violation'
  readonly tell: string | undefined
  constructor(message: string, tell?: string) {
    super(message)
    this.tell = tell
  }
}

export interface Parser {
  /** Throws a Violation. */
  read(chunk: Buffer): void
}

const MAX_ARGUMENT_BYTES = 4096
const LINE_BYTES = MAX_ARGUMENT_BYTES + 64 // Room for the name of the order and some blanks.
const MAX_ARGUMENTS = 4
const LF = 10
const CR = 13
const BLANK = 32
const TAB = 9

const names = ['pub', 'hpub', 'sub', 'unsub', 'ping', 'pong', 'connect', 'info', '+ok', '-err'] as const
type Name = (typeof names)[number]
const withoutArguments = new Set<Name>(['ping', 'pong', '+ok'])

const unknownOrder = () => new Violation('an order that NATS does not have', 'Unknown Protocol Operation')
const tooLongLine = () => new Violation('a control line of more than 4 KiB', 'maximum control line exceeded')
const isBlank = (byte: number) => byte === BLANK || byte === TAB

export function createParser(orders: Orders): Parser {
  // The beginning of a line whose end has not come; the buffer is made when first needed.
  let line: Buffer | undefined
  let lineBytes = 0
  // The message whose payload is being read: `size` bytes, of which the first `blockBytes` are headers.
  let subject = ''
  let reply = ''
  let size = -1
  let blockBytes = 0
  let body: Buffer | undefined
  let bodyBytes = 0
  // The arguments of the line being read, as offsets.
  const starts = new Int32Array(MAX_ARGUMENTS)
  const ends = new Int32Array(MAX_ARGUMENTS)

  function read(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) at = size < 0 ? readLine(chunk, at) : readPayload(chunk, at)
  }

  function readLine(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(LF, at)
    const stop = end < 0 ? chunk.length : end
    if (end >= 0 && lineBytes === 0) obey(chunk, at, end)
    else {
      line ??= Buffer.allocUnsafeSlow(LINE_BYTES)
      const copied = chunk.copy(line, lineBytes, at, stop)
      lineBytes += copied
      if (!names.some((name) => begins(line!, 0, lineBytes, name))) throw unknownOrder()
      if (copied < stop - at) throw tooLongLine()
      if (end < 0) return chunk.length
      const whole = lineBytes
      lineBytes = 0
      obey(line, 0, whole)
    }
    return end + 1
  }

  function readPayload(chunk: Buffer, at: number): number {
    const whole = size + 2
    if (body === undefined && chunk.length - at >= whole) {
      deliver(chunk.subarray(at, at + whole))
      return at + whole
    }
    body ??= Buffer.allocUnsafe(whole)
    const copied = chunk.copy(body, bodyBytes, at, Math.min(chunk.length, at + whole - bodyBytes))
    bodyBytes += copied
    if (bodyBytes === whole) {
      const complete = body
      body = undefined
      bodyBytes = 0
      deliver(complete)
    }
    return at + copied
  }

  function deliver(bytes: Buffer): void {
    const end = size
    size = -1
    if (bytes[end] !== CR || bytes[end + 1] !== LF) throw unknownOrder()
    const block = blockBytes > 0 ? bytes.subarray(0, blockBytes) : undefined
    orders.publish(subject, reply, block, bytes.subarray(blockBytes, end))
  }

  function obey(bytes: Buffer, from: number, lineEnd: number): void {
    const to = lineEnd > from && bytes[lineEnd - 1] === CR ? lineEnd - 1 : lineEnd
    const name = names.find((name) => begins(bytes, from, to, name) && to - from >= name.length)
    if (name === undefined) throw unknownOrder()
    if (lineEnd - from > LINE_BYTES) throw tooLongLine()
    let at = from + name.length
    if (!withoutArguments.has(name)) {
      if (name !== 'connect' && (at >= to || !isBlank(bytes[at]!))) throw unknownOrder()
      while (at < to && isBlank(bytes[at]!)) at++
      if (to - at > MAX_ARGUMENT_BYTES) throw tooLongLine()
    }
    if (name === 'pub') publish(bytes, split(bytes, at, to), false)
    else if (name === 'hpub') publish(bytes, split(bytes, at, to), true)
    else if (name === 'sub') subscribe(bytes, split(bytes, at, to))
    else if (name === 'unsub') unsubscribe(bytes, split(bytes, at, to))
    else if (name === 'ping') orders.ping()
    else if (name === 'pong') orders.pong()
    else if (name === 'connect') orders.connect(bytes.toString('utf8', at, to))
    else if (name === '-err') throw new Violation(`the client reports ${bytes.toString('utf8', at, to)}`)
  }

  /** How many arguments there are; the offsets of the first four stand in `starts` and `ends`. */
  function split(bytes: Buffer, from: number, to: number): number {
    let count = 0
    for (let at = from; at < to; count++) {
      const start = at
      while (at < to && !isBlank(bytes[at]!)) at++
      if (count < MAX_ARGUMENTS) {
        starts[count] = start
        ends[count] = at
      }
      while (at < to && isBlank(bytes[at]!)) at++
    }
    return count
  }

  const text = (bytes: Buffer, argument: number) => bytes.toString('utf8', starts[argument]!, ends[argument]!)

  /** A decimal of at most nine digits; -1 for anything else. */
  function number(bytes: Buffer, argument: number): number {
    const from = starts[argument]!
    const to = ends[argument]!
    if (to - from > 9) return -1
    let value = 0
    for (let at = from; at < to; at++) {
      const digit = bytes[at]! - 48
      if (digit < 0 || digit > 9) return -1
      value = value * 10 + digit
    }
    return value
  }

  function publish(bytes: Buffer, count: number, withHeaders: boolean): void {
    if (withHeaders && !orders.headers)
      throw new Violation('headers from a client that did not announce them')
    const sizes = withHeaders ? 2 : 1
    if (count !== 1 + sizes && count !== 2 + sizes)
      throw new Violation('a publish with too few or too many arguments')
    const total = number(bytes, count - 1)
    const head = withHeaders ? number(bytes, count - 2) : 0
    if (total < 0 || head < 0 || head > total) throw new Violation('a publish without a sound size')
    if (total > orders.maxPayload)
      throw new Violation(`a payload of ${total} bytes`, 'Maximum Payload Violation')
    subject = text(bytes, 0)
    reply = count === 2 + sizes ? text(bytes, 1) : ''
    blockBytes = head
    size = total
  }

  function subscribe(bytes: Buffer, count: number): void {
    if (count !== 2 && count !== 3) throw new Violation('a SUB with too few or too many arguments')
    orders.subscribe(text(bytes, 0), count === 3 ? text(bytes, 1) : '', text(bytes, count - 1))
  }

  function unsubscribe(bytes: Buffer, count: number): void {
    if (count !== 1 && count !== 2) throw new Violation('an UNSUB with too few or too many arguments')
    orders.unsubscribe(text(bytes, 0), count === 2 ? number(bytes, 1) : -1)
  }

  return { read }
}

/** Whether the bytes, as far as they go, are the beginning of the name, in upper or lower case. */
function begins(bytes: Buffer, from: number, to: number, name: Name): boolean {
  const length = Math.min(to - from, name.length)
  for (let i = 0; i < length; i++) if ((bytes[from + i]! | 0x20) !== name.charCodeAt(i)) return false
  return true
}
