/**
 * Addresses of NATS servers, as people write them: `nats://host:port`, with a user and a password or a token before the
 * host if need be, and `tls://`. The package reads hosts and ports only; what else an address says is taken out here.
 *
 * A login is NEVER shown: neither in a message nor in the cause of one, which is why there is none here. An address that
 * Node refuses is a property of Node's error.
 */
import { fail, type Outcome, succeed } from './failures.ts'

export type Servers = {
  /** Each as `host:port`. */
  servers: string[]
  /** What the addresses say beside it, under the names of the package's options; of several logins the last. */
  more: { user?: string; pass?: string; token?: string; tls?: Record<string, never> }
}

const DEFAULT_PORT = 4222

export function parseAddresses(addresses: readonly string[]): Outcome<Servers> {
  const found: Servers = { servers: [], more: {} }
  for (const address of addresses) {
    try {
      readAddress(address, found)
    } catch {
      const what = `'${withoutLogin(address)}' is no address of a NATS server: write nats://host:4222`
      return fail('malformed', what, false)
    }
  }
  return succeed(found)
}

/** Several may stand in one text, with commas between: a comma in a login is none of them. */
export const addressesIn = (servers: string | readonly string[]): string[] =>
  [servers].flat().flatMap((text) => text.split(/,\s*(?=\w+:\/\/|[^@]*$)/))

/** Addresses as they may be shown. */
export const withoutLogin = (servers: string): string =>
  addressesIn(servers)
    .map((address) => address.replace(/^(\w+:\/\/)?.*@/, '$1'))
    .join(',')

/** Adds what the address says; throws when it is none. */
function readAddress(address: string, { servers, more }: Servers): void {
  const { protocol, hostname, port, pathname, username, password } = new URL(
    address.includes('://') ? address : `nats://${address}`,
  )
  if (!['nats:', 'tls:'].includes(protocol) || hostname === '' || !['', '/'].includes(pathname))
    throw new TypeError('Invalid URL')
  servers.push(`${hostname}:${port === '' ? DEFAULT_PORT : port}`)
  if (protocol === 'tls:') more.tls = {}
  if (password !== '') {
    more.user = decodeURIComponent(username)
    more.pass = decodeURIComponent(password)
  } else if (username !== '') more.token = decodeURIComponent(username)
}
