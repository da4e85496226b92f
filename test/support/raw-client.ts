/**
 * A NATS client that says exactly what it is told to, and keeps what it hears as lines that can be compared.
 *
 * A line is an answer of the server (`+OK`, `-ERR '…'`, `PONG`) or a message with its payload as JSON text. INFO and the
 * server's own pings are heeded and left out: when they come is the server's affair.
 */
import net from 'node:net'

export interface RawClient {
  readonly heard: readonly string[]
  /** What the server said in INFO. */
  readonly info: Readonly<Record<string, unknown>>
  send(bytes: string | Buffer): void
  /** Resolves when the server has obeyed all that was sent before, or has hung up. */
  sync(): Promise<void>
  /** Resolves when a line comes that begins so, or the server has hung up. */
  until(beginning: string): Promise<void>
  stopReading(): void
  resumeReading(): void
  /** Answers no pings from now on. */
  playDead(): void
  /** Resolves when the server has hung up. */
  readonly closed: Promise<void>
  readonly isClosed: boolean
  destroy(): void
}

export async function openRaw(port: number, localPings = true): Promise<RawClient> {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
  const heard: string[] = []
  let waiting: { ready: () => boolean; resolve: () => void }[] = []
  let info: Record<string, unknown> | undefined
  let bytes: Buffer = Buffer.alloc(0)
  let answersPings = localPings
  let pings = 0 // Sent; as many pongs answer them when all is obeyed.
  let pongs = 0
  let isClosed = false

  const check = () => {
    waiting = waiting.filter(({ ready, resolve }) => !ready() || resolve())
  }
  const when = (ready: () => boolean) =>
    new Promise<void>((resolve) => {
      waiting.push({ ready: () => isClosed || ready(), resolve: () => resolve() })
      check()
    })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))

  function readOne(): boolean {
    const end = bytes.indexOf('\r\n')
    if (end < 0) return false
    const line = bytes.toString('utf8', 0, end)
    const sizes = /^(H?)MSG (.*) (\d+)$/.exec(line)
    const size = sizes === null ? -2 : Number(sizes[3])
    if (bytes.length < end + 4 + size) return false
    const payload = bytes.toString('utf8', end + 2, end + 2 + Math.max(size, 0))
    bytes = bytes.subarray(end + 4 + size)
    if (sizes !== null) heard.push(`${line} ${JSON.stringify(payload)}`)
    else if (line.startsWith('INFO ')) info = JSON.parse(line.slice(5)) as Record<string, unknown>
    else if (line === 'PING') answersPings && socket.write('PONG\r\n')
    else {
      if (line === 'PONG') pongs++
      heard.push(line)
    }
    return true
  }

  socket.on('data', (chunk) => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
    while (readOne());
    check()
  })
  socket.on('error', () => {}) // A reset is a way of hanging up.
  socket.on('close', () => {
    isClosed = true
    check()
  })
  await when(() => info !== undefined)

  return {
    heard,
    get info() {
      return info!
    },
    send(text) {
      pings += String(text).match(/^ping/gim)?.length ?? 0
      socket.write(text)
    },
    sync() {
      const target = ++pings
      socket.write('PING\r\n')
      return when(() => pongs >= target)
    },
    until: (beginning) => when(() => heard.some((line) => line.startsWith(beginning))),
    stopReading: () => void socket.pause(),
    resumeReading: () => void socket.resume(),
    playDead() {
      answersPings = false
    },
    closed,
    get isClosed() {
      return isClosed
    },
    destroy: () => void socket.destroy(),
  }
}
