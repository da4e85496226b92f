/**
 * MD5, written out because a machine knows no node:crypto. It places consumers and queues on a ring as RocketMQ does;
 * it protects nothing.
 *
 * RFC 1321
 */

const BLOCK = 64
const STEPS = Array.from({ length: 64 }, (_, step) => step)
const SINES = Int32Array.from(STEPS, (step) => Math.floor(Math.abs(Math.sin(step + 1)) * 2 ** 32) | 0)
const SHIFTS = Int32Array.from(
  STEPS,
  (step) => [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21].at((step >> 4) * 4 + (step & 3))!,
)
/** Which word of the block a step takes. */
const WORDS = Int32Array.from(
  STEPS,
  (step) => [step, 5 * step + 1, 3 * step + 5, 7 * step].at(step >> 4)! & 15,
)

/** The 16 bytes of the digest as four words, the first byte lowest in the first word. */
export function md5(text: string): [number, number, number, number] {
  const view = padded(utf8(text))
  let a = 0x67452301
  let b = 0xefcdab89 | 0
  let c = 0x98badcfe | 0
  let d = 0x10325476
  for (let start = 0; start < view.byteLength; start += BLOCK) {
    const [beforeA, beforeB, beforeC, beforeD] = [a, b, c, d]
    for (let step = 0; step < 64; step += 1) {
      const word = view.getInt32(start + 4 * WORDS[step]!, true)
      const sum = (a + mixed(step, b, c, d) + SINES[step]! + word) | 0
      const shift = SHIFTS[step]!
      a = d
      d = c
      c = b
      b = (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0
    }
    a = (a + beforeA) | 0
    b = (b + beforeB) | 0
    c = (c + beforeC) | 0
    d = (d + beforeD) | 0
  }
  return [a >>> 0, b >>> 0, c >>> 0, d >>> 0]
}

/** The first four bytes as one number, the first byte highest. */
export function md5Head(text: string): number {
  const [word] = md5(text)
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0
}

export const md5Hex = (text: string): string =>
  md5(text)
    .flatMap((word) => [word, word >>> 8, word >>> 16, word >>> 24])
    .map((byte) => (byte & 0xff).toString(16).padStart(2, '0'))
    .join('')

function mixed(step: number, b: number, c: number, d: number): number {
  if (step < 16) return (b & c) | (~b & d)
  if (step < 32) return (b & d) | (c & ~d)
  return step < 48 ? b ^ c ^ d : c ^ (b | ~d)
}

/** A bit that is set, zeros, and the length in bits in the last eight bytes. */
function padded(bytes: readonly number[]): DataView {
  const length = (((bytes.length + 8) >> 6) + 1) * BLOCK
  const all = new Uint8Array(length)
  all.set(bytes)
  all[bytes.length] = 0x80
  const view = new DataView(all.buffer)
  view.setUint32(length - 8, (bytes.length << 3) >>> 0, true)
  view.setUint32(length - 4, bytes.length >>> 29, true)
  return view
}

/** As Java encodes: half of a surrogate pair is a question mark. */
function utf8(text: string): number[] {
  const bytes: number[] = []
  for (const character of text) {
    const code = character.codePointAt(0)!
    if (code < 0x80) bytes.push(code)
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63))
    else if (code >= 0xd800 && code < 0xe000) bytes.push(63)
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63))
    else {
      bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63))
      bytes.push(0x80 | ((code >> 6) & 63), 0x80 | (code & 63))
    }
  }
  return bytes
}
