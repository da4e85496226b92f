/**
 * Who may follow, and from where: judges one request to follow.
 *
 * ONE process is one replica. A copy of a data folder, of the master's or of a slave's, is refused: it would acknowledge
 * for a replica that it is not. A second process that claims to be a replica displaces the first only AFTER that one has
 * failed to prove that it lives, by the echo of something that was sent after the claim.
 */
import { type Lineage, standing } from '../../../machines/epoch-starts.ts'
import type { Peer } from '../../../machines/peer-replica.ts'
import { type Refusal, refuse } from '../../../transport/codec.ts'
import { codes } from '../../../transport/codes.ts'
import type { FollowAnswer, FollowRequest } from '../../../transport/messages.ts'
import type { MasterContext } from './context.ts'
import { SESSIONS } from './context.ts'
import type { Follower } from './follower.ts'

/** So many signs of life without an echo, and who is displaced does not live. */
const PROOF_BEATS = 3

/** `peers`: who was heard of in this epoch. Null when the replica may follow; 'old' is not worth an answer. */
export function judge(
  context: MasterContext,
  request: FollowRequest,
  followers: ReadonlyMap<number, Follower>,
  peers: readonly Peer[],
): Refusal | 'old' | null {
  const { brokerName, settings } = context
  const { brokerId, storeId } = request
  const replica = `${brokerName}/${brokerId}`
  const follower = followers.get(brokerId)
  if (follower === undefined)
    return denied(
      brokerId === context.brokerId
        ? `${replica} is the master itself: give this broker another id`
        : `${brokerName} has ${settings.replicas} replicas, with the ids 0 to ${settings.replicas - 1}: ${brokerId} is none`,
    )
  if (storeId === context.storeId)
    return denied(`the data folder of ${replica} is a copy of the master's: remove it and start again`)
  for (const { request: other } of followers.values())
    if (other !== null && other.brokerId !== brokerId && other.storeId === storeId)
      return denied(
        `the data folder of ${replica} is a copy of that of ${brokerName}/${other.brokerId}: remove it and start again`,
      )
  const known = follower.request
  if (known !== null && isOld(request, known)) return 'old'
  const contested = known === null ? null : contest(context, request, follower, known)
  return contested ?? loss(request, replica, peers)
}

const denied = (message: string): Refusal => refuse(codes.NO_PERMISSION, message)

/** A repetition, or overtaken by a newer request of the same process. */
function isOld({ processId, incarnation, session }: FollowRequest, known: FollowRequest): boolean {
  if (processId !== known.processId || incarnation > known.incarnation) return false
  return incarnation < known.incarnation || (known.session - session + SESSIONS) % SESSIONS < SESSIONS / 2
}

/** Two processes claim to be one replica. A later start of the same store is the same replica once more. */
function contest(
  { clock, settings, brokerName }: MasterContext,
  { processId, storeId, incarnation, brokerId }: FollowRequest,
  follower: Follower,
  known: FollowRequest,
): Refusal | 'old' | null {
  if (processId === known.processId) return null
  const now = clock.monotonic()
  if (storeId === known.storeId) {
    if (incarnation > known.incarnation) return null
    // Of an earlier start that is over: it was long on its way.
    if (incarnation < known.incarnation && !follower.isSilent(now)) return 'old'
  }
  const { challenge } = follower
  const isNew = challenge?.processId !== processId || now - challenge.at > settings.detectMs
  const { at } = isNew ? { at: now } : challenge
  follower.challenge = { processId, at }
  const replica = `${brokerName}/${brokerId}`
  if (follower.echo > at)
    return denied(
      `another process, ${known.processId}, is ${replica} and lives: one of the two data folders is a copy. ` +
        'Stop one process; if it is to be another replica, give it another id and an empty folder',
    )
  if (now - at >= PROOF_BEATS * settings.beatMs) return null
  return refuse(
    codes.SERVICE_NOT_AVAILABLE,
    `another process, ${known.processId}, was ${replica} a moment ago: asked whether it still lives`,
  )
}

/** A replica that lost something must have noted that in its lineage; if not, it would count for what it no longer has. */
function loss(
  { brokerId, lineage, position }: FollowRequest,
  replica: string,
  peers: readonly Peer[],
): Refusal | null {
  const peer = peers.find((heard) => heard.brokerId === brokerId)
  if (peer === undefined || lineage > peer.lineage) return null
  if (lineage === peer.lineage && position >= peer.position) return null
  return denied(
    lineage < peer.lineage
      ? `the data folder of ${replica} is an old copy of what it was: remove it and start again`
      : `${replica} acknowledged the log up to ${peer.position} and comes back with ${position}: its disk has lost what ` +
          'it had stored. Remove its data folder and start again: the log is copied anew',
  )
}

/** From where a replica that may follow goes on. `own` is the master's log, which begins at `minPosition`. */
export function answerTo(
  { position, lastEpoch }: FollowRequest,
  own: Lineage,
  minPosition: number,
): FollowAnswer {
  const stands = standing(own, minPosition, position, lastEpoch)
  if (stands === 'gone') return { result: 'gone', minPosition }
  return stands === 'prefix' ? { result: 'streaming', position } : { result: 'diverging', ...stands }
}
