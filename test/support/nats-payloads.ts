/**
 * Finds, in a stream of NATS's client protocol, the bytes that are payload: what may change without the protocol
 * noticing. A payload may come in many chunks, and a chunk may hold many payloads.
 */

/** chunk[from] up to, not including, chunk[to] is of a payload that is `bytes` long as a whole. */
export type Piece = { from: number; to: number; bytes: number }
export type FindPieces = (chunk: Buffer) => Piece[]

/** One for each direction of each connection, shown all its bytes in order. */
export function natsPayloads(): FindPieces {
  let line = ''
  let headerBytes = 0
  let payloadBytes = 0
  let left = 0

  function begin(order: string): void {
    const plain = /^(?:PUB|MSG) .* (\d+)$/i.exec(order)
    const headed = /^(?:HPUB|HMSG) .* (\d+) (\d+)$/i.exec(order)
    headerBytes = Number(headed?.[1] ?? 0)
    payloadBytes = Number(plain?.[1] ?? headed?.[2] ?? 0) - headerBytes
    left = payloadBytes
  }

  return (chunk) => {
    const pieces: Piece[] = []
    for (let at = 0; at < chunk.length; ) {
      const rest = chunk.length - at
      if (headerBytes > 0) {
        const step = Math.min(headerBytes, rest)
        headerBytes -= step
        at += step
      } else if (left > 0) {
        const step = Math.min(left, rest)
        pieces.push({ from: at, to: at + step, bytes: payloadBytes })
        left -= step
        at += step
      } else {
        // The line break after a payload is an empty line here.
        const end = chunk.indexOf('\n', at)
        line += chunk.toString('latin1', at, end < 0 ? chunk.length : end)
        at = end < 0 ? chunk.length : end + 1
        if (end >= 0) {
          begin(line.trimEnd())
          line = ''
        }
      }
    }
    return pieces
  }
}
