/**
 * Headers of messages, between a record and NATS's header block (`NATS/1.0`, lines of `Name: value`, an empty line).
 *
 * A status of the server stands in the first line of the block; it is read as the headers `Status` and `Description`,
 * the names that NATS's Go client gives them.
 */
import type { Headers } from './transport.ts'

const VERSION = 'NATS/1.0'

/** What a server tells a requester when nobody listens, byte for byte. */
export const NO_RESPONDERS_BLOCK: Buffer = Buffer.from(`${VERSION} 503\r\n\r\n`)
export const NO_RESPONDERS = '503'
/** What a member of a queue group tells a requester whose message came in parts (parts.ts). */
export const TOO_LARGE = '413'

/** Throws on a name or a value that would break the block: a bug of who published. */
export function encodeHeaders(headers: Headers): Buffer {
  let block = `${VERSION}\r\n`
  for (const [name, value] of Object.entries(headers)) {
    checkHeader(name, value)
    block += `${name}: ${value}\r\n`
  }
  return Buffer.from(`${block}\r\n`)
}

export function checkHeader(name: string, value: string): void {
  if (!/^[!-9;-~]+$/.test(name))
    throw new TypeError(`'${name}' is no name of a header: use printable ASCII without blanks and colons`)
  if (/[\r\n]/.test(value))
    throw new TypeError(`the header '${name}' has a line break in its value: encode it first`)
}

/** Lenient, as the bytes may come from anybody: a line that does not parse is skipped, the first value of a name counts. */
export function decodeHeaders(block: Buffer): Headers {
  const [first = '', ...lines] = block.toString('utf8').split('\r\n')
  const found = new Map<string, string>()
  const status = /^NATS\/1\.0\s+(\S+)\s*(.*)$/.exec(first)
  if (status !== null) {
    found.set('Status', status[1]!)
    if (status[2] !== '') found.set('Description', status[2]!)
  }
  for (const line of lines) {
    const colon = line.indexOf(':')
    if (colon > 0 && !found.has(line.slice(0, colon)))
      found.set(line.slice(0, colon), line.slice(colon + 1).trim())
  }
  return Object.fromEntries(found)
}
