/**
 * The brokers as operators see them: every replica, whatever its role, and who is to be master next.
 *
 * A replica that does not answer NEVER hides the others: it is listed with what is known of it without its help. A
 * promotion counts as done AFTER the new master serves under its epoch, not when somebody has agreed to it.
 */
import { compareText } from '../../machines/topic.ts'
import type { BrokerDescription, FollowerView, Mastership } from '../../transport/messages.ts'
import { badInput, StateMQError } from '../errors.ts'
import { type Durability, durabilityOf } from './durability.ts'
import { type Masters, noMaster } from './masters.ts'

const DESCRIBE_MS = 2_000
/** A master that hands over drains first, and then waits until the swap is done. */
const HAND_OVER_MS = 5_000
const SERVE_MS = 10_000
const LOOK_MS = 100

/** A replica that answers, as it describes itself. */
export type ReachableReplica = BrokerDescription & {
  reachable: true
  /** A master's: what it promises at this moment. */
  durability: Durability | null
  /** A slave's: how far it is behind, as its master says; null where no master tells. */
  lag: FollowerView | null
}
/** One that does not: `role` and `epoch` are the last that a name server heard, null when it knows nothing of it. */
export type UnreachableReplica = {
  reachable: false
  brokerName: string
  brokerId: number
  role: 'master' | 'slave' | null
  epoch: number | null
}
export type Replica = ReachableReplica | UnreachableReplica

export type BrokerOverview = {
  brokerName: string
  /** Null while no replica that can be reached is master. */
  masterId: number | null
  epoch: number
  /** The ids of the replicas that hold all that is confirmed, as the newest of them knows; empty while none knows. */
  syncStateSet: number[]
  durability: Durability | null
  /** The last changes of mastership, newest first. */
  masterships: Mastership[]
  replicas: Replica[]
}

/** Every replica that is registered, and those that ought to be; sorted by name and id. */
export async function describeReplicas(masters: Masters, only?: string): Promise<Replica[]> {
  const { brokers } = await masters.view()
  const wanted = only === undefined ? brokers : brokers.filter(({ brokerName }) => brokerName === only)
  const asked = await Promise.all(
    wanted.map(async ({ brokerName, brokerId, role, epoch }): Promise<Described> => {
      const { describe } = masters.process.subjects.brokerProcess(brokerName, brokerId)
      try {
        return await masters.ask(describe, {}, `describing ${brokerName}/${brokerId}`, DESCRIBE_MS)
      } catch (error) {
        if (!(error instanceof StateMQError)) throw error
        return { reachable: false, brokerName, brokerId, role, epoch }
      }
    }),
  )
  return complete(asked)
}

export async function describeBroker(masters: Masters, brokerName: string): Promise<BrokerOverview> {
  const replicas = await describeReplicas(masters, brokerName)
  if (replicas.length === 0) {
    throw new StateMQError('QUERY_NOT_FOUND', `there is no broker '${brokerName}': see 'statemq broker list'`)
  }
  const master = masterOf(replicas, brokerName)
  const newest = master ?? replicas.filter((one) => one.reachable).sort((a, b) => b.epoch - a.epoch)[0]
  return {
    brokerName,
    masterId: master?.brokerId ?? null,
    epoch: Math.max(0, ...replicas.map(({ epoch }) => epoch ?? 0)),
    syncStateSet: newest?.syncStateSet ?? [],
    durability: master?.durability ?? null,
    masterships: newest?.masterships ?? [],
    replicas,
  }
}

/** Makes a replica master: by the master's own hand, or, where there is none and it is ordered so, whatever it lacks. */
export async function promote(
  masters: Masters,
  brokerName: string,
  brokerId: number,
  { unclean = false }: { unclean?: boolean } = {},
): Promise<{ epoch: number }> {
  if (!Number.isSafeInteger(brokerId) || brokerId < 0) {
    throw badInput('the id of a replica is a whole number from 0 on', 'INVALID_PARAMETER')
  }
  const before = await describeBroker(masters, brokerName)
  checkPromotion(before, brokerId, unclean)
  return unclean
    ? electUnclean(masters, before, brokerId)
    : handOver(masters, brokerName, before.epoch, brokerId)
}

/** Throws what stands against it, as a sentence. Pure. */
function checkPromotion(before: BrokerOverview, brokerId: number, unclean: boolean): void {
  const { brokerName, masterId, syncStateSet, replicas } = before
  const ids = replicas.map((replica) => replica.brokerId)
  if (!ids.includes(brokerId)) {
    throw new StateMQError(
      'CONTROLLER_BROKER_ID_INVALID',
      `${brokerName} has no replica ${brokerId}: it has ${ids.join(', ')}`,
    )
  }
  if (masterId === brokerId) {
    throw new StateMQError(
      'CONTROLLER_MASTER_STILL_EXIST',
      `${brokerName}/${brokerId} is the master already, at epoch ${before.epoch}`,
    )
  }
  if (unclean) {
    if (masterId === null) return
    throw new StateMQError(
      'CONTROLLER_MASTER_STILL_EXIST',
      `${brokerName} has a master, ${brokerName}/${masterId}: without --unclean it hands over and nothing is lost`,
    )
  }
  if (masterId === null) {
    throw new StateMQError(
      'CONTROLLER_MASTER_NOT_AVAILABLE',
      `${brokerName} has no master that could hand over. A controller elects one as soon as a replica of the sync state set ` +
        `(${syncStateSet.join(', ') || 'nobody who answers knows it'}) is there: start it. With --unclean another is taken, and what it lacks is lost`,
    )
  }
  if (!syncStateSet.includes(brokerId)) {
    throw new StateMQError(
      'CONTROLLER_INVALID_REPLICAS',
      `${brokerName}/${brokerId} is not in the sync state set (${syncStateSet.join(', ')}): as master it would lose ` +
        `messages; it is taken in when it has caught up, see 'statemq broker show ${brokerName}'`,
    )
  }
}

async function handOver(
  masters: Masters,
  brokerName: string,
  oldEpoch: number,
  brokerId: number,
): Promise<{ epoch: number }> {
  const { subjects } = masters.process
  const what = `handing ${brokerName} over to ${brokerName}/${brokerId}`
  const order = subjects.broker(brokerName, oldEpoch).handOver
  let epoch: number
  try {
    epoch = (await masters.ask(order, { brokerId }, what, HAND_OVER_MS)).epoch
  } catch (error) {
    if (error instanceof StateMQError && error.code === 'NO_NAME_SERVER')
      throw noMaster(brokerName, what, error)
    throw error
  }
  const { describe } = subjects.broker(brokerName, epoch)
  return untilServing(masters, brokerName, brokerId, async () => {
    const { brokerId: servingId } = await masters.ask(describe, {}, what, DESCRIBE_MS)
    return servingId === brokerId ? epoch : null
  })
}

async function electUnclean(
  masters: Masters,
  { brokerName, epoch: oldEpoch }: BrokerOverview,
  brokerId: number,
): Promise<{ epoch: number }> {
  const { subjects } = masters.process
  const what = `electing ${brokerName}/${brokerId} whatever it lacks`
  try {
    await masters.ask(subjects.controller.electUnclean, { brokerName, brokerId }, what)
  } catch (error) {
    if (!(error instanceof StateMQError) || error.code !== 'NO_NAME_SERVER') throw error
    throw new StateMQError(
      'CONTROLLER_ELECT_MASTER_FAILED',
      `${what}: no controller answers; start one with 'statemq node --roles controller'`,
      { retryable: true, cause: error },
    )
  }
  const { describe } = subjects.brokerProcess(brokerName, brokerId)
  return untilServing(masters, brokerName, brokerId, async () => {
    const { role, epoch } = await masters.ask(describe, {}, what, DESCRIBE_MS)
    return role === 'master' && epoch > oldEpoch ? epoch : null
  })
}

/** Looks until `look` tells an epoch; that nobody answers yet is no failure. */
async function untilServing(
  masters: Masters,
  brokerName: string,
  brokerId: number,
  look: () => Promise<number | null>,
): Promise<{ epoch: number }> {
  const { clock } = masters.process.world
  const end = clock.monotonic() + SERVE_MS
  for (;;) {
    const epoch = await look().catch((error) => {
      if (error instanceof StateMQError) return null
      throw error
    })
    if (epoch !== null) return { epoch }
    if (clock.monotonic() >= end) break
    await masters.pause(LOOK_MS)
  }
  throw new StateMQError(
    'CONTROLLER_ELECT_MASTER_FAILED',
    `${brokerName}/${brokerId} was chosen and does not serve after ${SERVE_MS / 1_000} s: ` +
      `see 'statemq broker show ${brokerName}'`,
    { retryable: true },
  )
}

type Described = BrokerDescription | UnreachableReplica

/** Adds what follows from all of them together: who is missing, what masters promise, how far slaves are. */
function complete(asked: readonly Described[]): Replica[] {
  const known = asked.map(
    (one): Replica =>
      'reachable' in one
        ? one
        : {
            ...one,
            reachable: true,
            durability: one.role === 'master' ? durabilityOf(one) : null,
            lag: null,
          },
  )
  for (const brokerName of new Set(known.map((one) => one.brokerName))) {
    const own = known.filter((one) => one.brokerName === brokerName)
    const count = Math.max(...own.map((one) => (one.reachable ? one.replicas : 0)))
    for (let brokerId = 0; brokerId < count; brokerId++) {
      if (own.some((one) => one.brokerId === brokerId)) continue
      known.push({ reachable: false, brokerName, brokerId, role: null, epoch: null })
    }
    const followers = masterOf(own, brokerName)?.followers ?? []
    for (const one of own) {
      if (one.reachable) one.lag = followers.find(({ brokerId }) => brokerId === one.brokerId) ?? null
    }
  }
  return known.sort((a, b) => compareText(a.brokerName, b.brokerName) || a.brokerId - b.brokerId)
}

/** A deposed master may believe for a moment that it still is: the higher epoch wins. */
function masterOf(replicas: readonly Replica[], brokerName: string): ReachableReplica | undefined {
  return replicas
    .filter((one) => one.reachable)
    .filter((one) => one.brokerName === brokerName && one.role === 'master')
    .sort((a, b) => b.epoch - a.epoch)[0]
}
