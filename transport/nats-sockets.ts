/**
 * The sockets of one connection to a NATS server: AT MOST ONE lives AFTER a dial has ended.
 *
 * The package leaves two kinds behind. A dial that runs out of time goes on by itself: when the server answers after all,
 * the connection has a second socket of which nobody reads. The server cuts that off as stale, the package takes it for
 * the end of the first, dials, and leaves the first behind with all its subscriptions; so on for ever, one after the
 * other, each message heard twice meanwhile and requests to queue groups lost. And a socket that is given up because pings
 * are not answered is first flushed, which NEVER ends where the other side is gone and the system's buffer is full.
 * So: what a dial has given up is destroyed, now or as soon as it connects, and what is stale is destroyed at once.
 */
import type { Socket } from 'node:net'
import type { NatsConnection } from 'nats'

/** What the package keeps to itself. `connected`: the server has introduced itself. */
type PackageTransport = {
  socket?: Socket
  connected: boolean
  connect(...to: unknown[]): Promise<void>
  disconnect(): void
}
type Protocol = {
  transport: PackageTransport
  prepare(): unknown
  dial(server: unknown): Promise<void>
}

/** To be called once for a connection; from its next dial on there is never more than one socket. */
export function keepOneSocket(connection: NatsConnection): void {
  const { protocol } = connection as unknown as { protocol: Protocol }
  const { prepare, dial } = protocol
  /** Of the dial under way. */
  let giveUp = (): void => {}
  hangUpAtOnce(protocol.transport)
  protocol.prepare = () => {
    const ready = prepare.call(protocol)
    giveUp = watch(protocol.transport)
    hangUpAtOnce(protocol.transport)
    return ready
  }
  protocol.dial = async (server) => {
    try {
      await dial.call(protocol, server)
    } catch (error) {
      giveUp()
      throw error
    }
  }
}

/** Returns what gives the dial up. One that was connected already is closed by the package itself. */
function watch(transport: PackageTransport): () => void {
  const { connect } = transport
  let isGivenUp = false
  transport.connect = async (...to) => {
    await connect.apply(transport, to)
    if (isGivenUp) destroy(transport)
  }
  return () => {
    isGivenUp = true
    if (!transport.connected) transport.socket?.destroy()
  }
}

/** Nobody is told of its end: for the package this socket has never been. */
function destroy({ socket }: PackageTransport): void {
  socket?.removeAllListeners()
  socket?.on('error', () => {})
  socket?.destroy()
}

/** The package hears of it as of any socket that breaks, and dials. */
function hangUpAtOnce(transport: PackageTransport): void {
  transport.disconnect = () => void transport.socket?.destroy()
}
