/**
 * Headers of messages, between a record and the object that the `nats` package has for them.
 *
 * What is heard reads as headers.ts reads it: the status of a server as `Status` and `Description`, of a name that comes
 * twice the first value. What is sent is checked BEFORE the package sees it, which would send a broken block.
 */
import { type Msg, type MsgHdrs, headers as newHeaders } from 'nats'
import { checkHeader } from './headers.ts'
import type { Headers } from './transport.ts'

export function packageHeaders(headers: Headers): MsgHdrs {
  const all = newHeaders()
  for (const [name, value] of Object.entries(headers)) {
    checkHeader(name, value)
    all.append(name, value)
  }
  return all
}

/** What they take of the payload that the server carries, in bytes. */
export const headBytes = (head: MsgHdrs): number => Buffer.byteLength(String(head))

export function headersOf(message: Msg): Headers | undefined {
  const all = message.headers
  if (all === undefined) return undefined
  const found: [string, string][] = []
  if (all.code > 0) {
    found.push(['Status', String(all.code)])
    if (all.description !== '') found.push(['Description', all.description])
  }
  for (const [name, values] of all) found.push([name, values[0]!])
  return Object.fromEntries(found)
}
