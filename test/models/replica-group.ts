/**
 * A broker group as a system of worlds: replicas, one controller, the register, and the network between them.
 *
 * What travels is kept as the newest message of each kind between two replicas; delivering does not take it away, so it
 * may arrive late, twice or NEVER. The register may do a swap long AFTER it was asked to, or after who asked has died,
 * and its answer may be lost. What harms has a budget (crashes, elections, proposals, handovers); what heals has none.
 *
 * The controller may suspect anybody at any time. It is told of a new head at once: a swap of an old head fails anyhow.
 */
import type { AnyMachineSnapshot } from 'xstate'
import type { BrokerRoleEvent } from '../../machines/broker-role.ts'
import { type GroupState, type Head, memberOf } from '../../machines/group-state.ts'
import type { System } from '../support/explore.ts'
import { controllers } from './controller.ts'
import { type History, names, noHistory, properties } from './history.ts'
import { interned } from './interning.ts'
import {
  channels,
  type Data,
  endOf,
  type Happening,
  type Message,
  type Output,
  type Replica,
  replicas,
} from './replica.ts'
import { production, type Rules } from './rules.ts'

export type Configuration = {
  replicas: number
  minInSync: number
  /** How many messages are sent, and to which epoch elections go. */
  sends: number
  epochs: number
  crashes?: number
  /** Crashes that cost what is not synced. */
  losses?: number
  /** Changes of the sync state set. */
  proposals?: number
  handovers?: number
  /** How often a master drops the beginning of its log. */
  retentions?: number
  /** How often the register goes back by one swap. */
  rollbacks?: number
  /** How often the register, and with it every process, starts from nothing. */
  wipes?: number
  /** Elections of whoever a person picks. */
  unclean?: number
  /** A replica may hear of an epoch after the register has gone on to a newer one. */
  lateHeads?: boolean
  /** A swap may be answered after who asked has left the mastership that it was for. */
  lateAnswers?: boolean
  /**
   * Data and answers are messages of their own, that may arrive long after they were sent. Else they arrive as they are
   * sent while the master is master, and late only when it is not: who gets data later might as well get it now and
   * acknowledge it later.
   */
  lateMessages?: boolean
  /** A vote may be old when the controller's swap is done. */
  staleVotes?: boolean
  /** Data may overtake data. */
  hasGaps?: boolean
  /** Nobody is master yet, and nothing was ever written. */
  startsEmpty?: boolean
}

type Swap = { expected: number; state: GroupState; revision: number; isOrphan: boolean }
type Register = { head: Head | null; origin: Head | null; earlier: Head[]; before: Head | null }

/** What is left of each, three bits for each. */
const shifts = {
  sends: 0,
  crashes: 3,
  losses: 6,
  proposals: 9,
  handovers: 12,
  retentions: 15,
  rollbacks: 18,
  wipes: 21,
  unclean: 24,
}
type Budget = keyof typeof shifts
const budgets = Object.keys(shifts) as Budget[]

export type ReplicaGroup = System & {
  /** What was seen on the way: proof that a model is not about nothing. */
  readonly seen: Map<string, number>
  readonly tables: {
    brokerRole: ReturnType<typeof replicas>['table']
    controller: ReturnType<typeof controllers>['table']
  }
}

export function replicaGroup(configuration: Configuration, rules: Rules = production): ReplicaGroup {
  const { replicas: count, minInSync, epochs } = configuration
  const {
    lateHeads = false,
    lateAnswers = false,
    lateMessages = false,
    staleVotes = false,
    hasGaps = false,
  } = configuration
  const ids = [...Array(count).keys()]
  const messages = interned<Message | null>(null)
  const own = replicas(rules, configuration, messages)
  const control = controllers(rules, { replicas: count, minInSync, replication: 'sync' })
  const registers = interned<Register>({ head: null, origin: null, earlier: [], before: null })
  const swaps = interned<Swap | null>(null)
  const heads = interned<Head>()
  const histories = interned<History>(noHistory)
  const seen = new Map<string, number>()
  const isHarsh = rules.isHeard !== production.isHeard

  // The columns of a world.
  const REGISTER = count
  const CONTROL = count + 1
  const SWAP = count + 2 // One for each replica, then the controller's.
  const LEFT = SWAP + count + 1 // A replica's swap that it no longer waits for.
  const NET = LEFT + count
  const HISTORY = NET + channels.length * count * count
  const BUDGET = HISTORY + 1
  const width = BUDGET + 1
  const wire = (channel: number, from: number, to: number) => NET + (channel * count + from) * count + to
  const FOLLOW = 0
  const ANSWER = 1
  const DATA = 2
  const ACK = 3
  const [RESTART, WRITTEN, RETRY, LIMIT, SEND, HEAD, CRASH, ANSWERED, UNKNOWN] = [
    4, 5, 6, 7, 8, 9, 10, 11, 12,
  ] as const

  const left = (world: Int32Array, budget: Budget) => (world[BUDGET]! >> shifts[budget]) & 7
  const spend = (budget: Budget) => {
    next[BUDGET]! -= 1 << shifts[budget]
  }

  const world0 = new Int32Array(width)
  const next = new Int32Array(width)
  let current: Int32Array = world0
  let tell: (next: Int32Array) => void = () => {}
  const step = { name: () => 'start', isPerturbation: false, breaks: null as string | null }

  const replicaAt = (world: Int32Array, id: number): Replica => own.all.at(world[id]!)
  const snapshotOf = (replica: Replica): AnyMachineSnapshot | null =>
    replica.state < 0 ? null : own.table.at(replica.state)

  // ------------------------------------------------------------------------------------- what a replica is able to

  const facts = factsOf()
  function factsOf() {
    const known: Facts[] = []
    return (number: number, id: number): Facts =>
      (known[number * count + id] ??= learn(own.all.at(number), id))
    function learn(replica: Replica, id: number): Facts {
      const snapshot = snapshotOf(replica)
      const { term } = replica
      const context = snapshot?.context
      const isServing = term !== null && snapshot!.matches('master')
      const number = own.all.of(replica)
      const proposes = (event: BrokerRoleEvent) =>
        own
          .react(number, own.numbered(id, { type: 'event', event }))
          .outputs.some(({ type }) => type === 'swapped')
      const epoch = term?.epoch ?? 0
      const peers = term?.peers ?? []
      const proposals: BrokerRoleEvent[] = []
      if (isServing) {
        for (const { brokerId, position, lineage } of peers) {
          if (rules.hasCaughtUp(term, position))
            proposals.push({ type: 'follower.caughtUp', epoch, brokerId, lineage })
        }
        for (const brokerId of ids)
          if (brokerId !== id) proposals.push({ type: 'follower.lagging', epoch, brokerId })
      }
      const data = [...replica.log, null].map((entry, i) =>
        term ? messages.of({ epoch, from: replica.begin + i, entry, confirm: term.confirm }) : 0,
      )
      return {
        isUp: snapshot !== null,
        isServing,
        epoch: context?.epoch ?? 0,
        head: context?.head ?? null,
        termEpoch: epoch,
        mayBecomeMaster: snapshot?.matches('promoting') ?? false,
        acceptsSends: (snapshot?.hasTag('accepts-writes') ?? false) && !replica.isHolding,
        mayHandOver: snapshot?.matches({ master: { membership: 'settled' } }) ?? false,
        isDraining: snapshot?.matches({ master: { membership: { handingOver: 'draining' } } }) ?? false,
        proposals: proposals.filter(proposes).map((event) => own.numbered(id, { type: 'event', event })),
        data: term ? data : [],
        begin: replica.begin,
        vote: control.vote(replica, snapshot, id, own.lineageOf(replica)),
      }
    }
  }
  type Facts = {
    isUp: boolean
    isServing: boolean
    epoch: number
    head: Head | null
    termEpoch: number
    mayBecomeMaster: boolean
    acceptsSends: boolean
    mayHandOver: boolean
    isDraining: boolean
    proposals: number[]
    /** What it would send from each of its positions on. */
    data: number[]
    begin: number
    vote: number
  }

  // ------------------------------------------------------------------------------------------------- taking a step

  const begin = (name: () => string, isPerturbation = false) => {
    next.set(current)
    step.name = name
    step.isPerturbation = isPerturbation
    step.breaks = null
  }
  const end = () => {
    prune()
    tell(next)
  }
  const breaks = (property: string | null) => {
    step.breaks ??= property
  }
  const saw = (what: string) => {
    if (!seen.has(what)) seen.set(what, 1)
  }

  /** What was computed of a thing that is there once. */
  const computed = new Map<object, number>()
  const once = (of: object, compute: () => number): number => {
    let number = computed.get(of)
    if (number === undefined) {
      number = compute()
      computed.set(of, number)
    }
    return number
  }
  const headNumber = (of: Head): number => once(of, () => heads.of(of))
  const pairs = [...Array(6)].map(() => new Map<number, number>())
  /** What was computed of two numbers. */
  const paired = (kind: number, a: number, b: number, compute: () => number): number => {
    const known = pairs[kind]!
    const key = a * 1_048_576 + b
    let number = known.get(key)
    if (number === undefined) {
      number = compute()
      known.set(key, number)
    }
    return number
  }
  /** Numbers of happenings, without building them anew. */
  const numbers = [...Array(16)].map(() => new Map<number, number>())
  const numbered = (kind: number, a: number, b: number, id: number, build: () => Happening): number => {
    const known = numbers[kind]!
    const key = (a * 8 + b) * 8 + id
    let number = known.get(key)
    if (number === undefined) {
      number = own.numbered(id, build())
      known.set(key, number)
    }
    return number
  }

  /** Something happens to a replica of `next`. */
  function happens(id: number, number: number): boolean {
    const outcome = own.react(next[id]!, number)
    if (outcome.replica === next[id] && outcome.outputs.length === 0) return false
    const before = next[id]!
    next[id] = outcome.replica
    if (!lateMessages && facts(before, id).termEpoch > facts(outcome.replica, id).termEpoch)
      leaveData(id, before)
    for (const output of outcome.outputs) carry(id, output)
    return true
  }
  /** A mastership ends, and what it sent last is still on its way. */
  function leaveData(id: number, before: number) {
    const { data, begin: from, termEpoch } = facts(before, id)
    for (const to of ids) {
      const replica = replicaAt(next, to)
      if (to !== id && replica.following?.epoch === termEpoch)
        next[wire(DATA, id, to)] = data[endOf(replica) - from] ?? 0
    }
  }
  function carry(id: number, output: Output) {
    if (output.type === 'sent') {
      const { channel, to, message } = output
      next[wire(channels.indexOf(channel), id, to)] = message
      // A new request to follow: what belongs to an earlier one is not heard.
      if (channel === 'follow')
        for (const from of ids) next[wire(DATA, from, id)] = next[wire(ANSWER, from, id)] = 0
    } else if (output.type === 'swapped') {
      leave(id)
      next[SWAP + id] = once(output, () =>
        swaps.of({ expected: output.expected, state: output.state, revision: 0, isOrphan: false }),
      )
    } else if (output.type === 'broke') breaks(output.property)
    else if (output.type === 'saw') saw(output.what)
    else {
      const history = histories.at(next[HISTORY]!)
      const changed = property.after(history, output, id, next)
      if (changed !== history) next[HISTORY] = histories.of(changed)
    }
  }
  /** Nobody waits for this swap any more; it may be done all the same. */
  function leave(id: number) {
    const swap = swaps.at(next[SWAP + id]!)
    next[SWAP + id] = 0
    if (swap !== null && (lateAnswers || (swap.revision === 0 && swap.expected === revision(next))))
      next[LEFT + id] = swaps.of(swap)
  }

  const head = (world: Int32Array): Head | null => registers.at(world[REGISTER]!).head
  const revision = (world: Int32Array): number => head(world)?.revision ?? 0

  /** The register does a swap of broker `id`, or of the controller (-1). */
  function swapIn(id: number, number: number): boolean {
    const { expected, state } = swaps.at(number)!
    const old = head(next)
    if (!(old === null ? expected === 0 : rules.swaps(old, expected))) return false
    breaks(property.onSwap(old, state, id, next))
    const keepsOld = left(next, 'rollbacks') > 0
    next[REGISTER] = paired(keepsOld ? 0 : 1, next[REGISTER]!, number, () =>
      swapped(next[REGISTER]!, state, keepsOld),
    )
    if (state.cause === 'handover' && old) {
      const history = histories.at(next[HISTORY]!)
      next[HISTORY] = histories.of({ ...history, handedOver: [...history.handedOver, old.epoch] })
    }
    return true
  }
  function swapped(register: number, state: GroupState, keepsOld: boolean): number {
    const { head: old, origin, earlier } = registers.at(register)
    const now: Head = { ...state, revision: (old?.revision ?? 0) + 1 }
    saw(`the register: ${now.cause}`)
    if (now.syncStateSet.some(({ lineage }) => lineage > 0) && now.cause === 'expand')
      saw('a new lineage is admitted')
    const isNewEpoch = old === null || now.epoch !== old.epoch
    return registers.of({
      head: now,
      origin: isNewEpoch ? now : origin,
      earlier: isNewEpoch && origin && lateHeads ? [...earlier, origin] : earlier,
      before: keepsOld ? old : null,
    })
  }
  /** The controller hears of the head, unless it waits for its own swap. */
  function informController() {
    const waiting = next[SWAP + count]!
    if (waiting !== 0) {
      const { expected, state } = swaps.at(waiting)!
      if (expected === revision(next)) return
      next[SWAP + count] = 0
      next[CONTROL] = paired(2, next[CONTROL]!, next[REGISTER]!, () =>
        control.conflicted(next[CONTROL]!, state.writeId, head(next)),
      )
    }
    const now = head(next)
    if (now)
      next[CONTROL] = paired(3, next[CONTROL]!, next[REGISTER]!, () => control.heard(next[CONTROL]!, now))
  }

  // -------------------------------------------------------------------------------------------------- pruning

  /** Takes away what can have no effect any more. */
  function prune() {
    if (isHarsh) return
    for (const i of ids) {
      const of = facts(next[i]!, i)
      const replica = replicaAt(next, i)
      for (const j of ids) {
        if (i === j) continue
        pruneToMaster(i, j, of, replica)
        pruneToSlave(i, j, of, replica)
      }
      pruneLeft(i)
    }
    const register = registers.at(next[REGISTER]!)
    if (register.earlier.length > 0) pruneEarlier(register)
  }
  function pruneToMaster(i: number, j: number, of: Facts, { term }: Replica) {
    const mayHear = (epoch: number) =>
      of.isUp && (of.termEpoch === epoch || of.epoch < epoch || (of.epoch === epoch && of.mayBecomeMaster))
    const follow = wire(FOLLOW, j, i)
    if (next[follow] !== 0 && !mayHear(messages.at(next[follow]!)!.epoch)) next[follow] = 0
    const ack = wire(ACK, j, i)
    if (next[ack] === 0) return
    const { epoch, lineage, position } = messages.at(next[ack]!) as {
      epoch: number
      lineage: number
      position: number
    }
    const peer = term?.epoch === epoch ? term.peers.find(({ brokerId }) => brokerId === j) : undefined
    const isKnown =
      peer && (peer.lineage > lineage || (peer.lineage === lineage && peer.position >= position))
    if (isKnown || !mayHear(epoch)) next[ack] = 0
  }
  function pruneToSlave(i: number, j: number, of: Facts, replica: Replica) {
    const { following, promised, confirm } = replica
    const answer = wire(ANSWER, j, i)
    if (next[answer] !== 0) {
      const { epoch, asked } = messages.at(next[answer]!) as { epoch: number; asked: number }
      if (following?.epoch !== epoch || following.isStreaming || asked !== endOf(replica)) next[answer] = 0
    }
    const data = wire(DATA, j, i)
    if (next[data] === 0) return
    const message = messages.at(next[data]!) as Data
    if (!of.isUp || message.epoch < promised || (following && message.epoch < following.epoch)) next[data] = 0
    else if (following?.isStreaming && following.epoch === message.epoch) {
      const covers = message.from + (message.entry === null ? 0 : 1)
      if (covers <= endOf(replica) && Math.min(message.confirm, endOf(replica)) <= confirm) next[data] = 0
    }
  }
  function pruneLeft(i: number) {
    const swap = swaps.at(next[LEFT + i]!)
    if (swap === null || rules.swaps !== production.swaps || left(next, 'rollbacks') > 0) return
    const isOver = swap.revision > 0 || swap.expected !== revision(next)
    if (isOver && (swap.isOrphan || !lateAnswers)) next[LEFT + i] = 0
  }
  /** An old head that everybody has promised to go beyond. */
  function pruneEarlier(register: Register) {
    const promised = Math.min(...ids.map((id) => replicaAt(next, id).promised))
    const earlier = register.earlier.filter(({ epoch }) => epoch >= promised)
    if (earlier.length < register.earlier.length) next[REGISTER] = registers.of({ ...register, earlier })
  }

  // ------------------------------------------------------------------------------------------------------- the steps

  function steps(world: Int32Array, told: (next: Int32Array) => void) {
    current = world
    tell = told
    for (const id of ids) {
      const of = facts(world[id]!, id)
      if (!of.isUp) restart(id)
      else {
        hearHeads(id, of)
        write(id)
        hearMessages(id, of)
        sendData(id, of)
        if (of.acceptsSends) takeSend(id, of)
        if (of.isServing) change(id, of)
        crash(id)
      }
      resolve(id)
    }
    elect()
    if (left(world, 'rollbacks') > 0) rollBack()
    if (left(world, 'wipes') > 0) wipe()
  }

  function restart(id: number) {
    begin(() => `broker ${id} starts`)
    happens(
      id,
      numbered(RESTART, 0, 0, id, () => ({ type: 'restart' })),
    )
    end()
  }
  function hearHeads(id: number, of: Facts) {
    const { origin, earlier } = registers.at(current[REGISTER]!)
    if (origin) hearHead(id, of, origin)
    for (const old of earlier) hearHead(id, of, old)
  }
  function hearHead(id: number, of: Facts, heard: Head) {
    // Within one mastership members come and go; only its master cares, and it made the change.
    if (of.head !== null && (heard.revision <= of.head.revision || heard.epoch <= of.head.epoch)) return
    begin(() => `broker ${id} hears that ${heard.masterId} is master of epoch ${heard.epoch}`)
    if (
      happens(
        id,
        numbered(HEAD, headNumber(heard), 0, id, () => ({
          type: 'event',
          event: { type: 'head.changed', head: heard },
        })),
      )
    )
      end()
  }
  function write(id: number) {
    const { writes } = replicaAt(current, id)
    for (const order of writes) {
      const { file } = order
      if (order !== writes.find((other) => other.file === file)) continue
      begin(() => `broker ${id} has on disk: ${JSON.stringify(order)}`)
      happens(
        id,
        numbered(WRITTEN, file === 'log' ? 1 : 0, 0, id, () => ({ type: 'written', file })),
      )
      end()
    }
  }
  function hearMessages(id: number, of: Facts) {
    for (const from of ids) {
      if (from === id) continue
      for (let channel = 0; channel < channels.length; channel++) {
        const at = wire(channel, from, id)
        const number = current[at]!
        if (number === 0) continue
        const type = channels[channel]!
        begin(() => `broker ${id} hears ${type} of ${from}: ${JSON.stringify(messages.at(number))}`)
        if (type === 'follow') next[at] = 0
        const changed = happens(id, hearing(channel, number, from, id))
        if (channel === FOLLOW && !lateMessages) bringAnswer(id, from)
        if (changed && (channel !== FOLLOW || of.termEpoch > 0)) end()
      }
    }
  }
  /** If who asked still waits for it. */
  function bringAnswer(id: number, to: number) {
    const at = wire(ANSWER, id, to)
    prune()
    if (next[at] !== 0) happens(to, hearing(ANSWER, next[at]!, id, to))
    next[at] = 0
  }
  function sendData(id: number, of: Facts) {
    for (const to of ids) {
      const { following } = replicaAt(current, to)
      if (to === id || !following?.isStreaming || following.masterId !== id || of.termEpoch === 0) continue
      const from = endOf(replicaAt(current, to)) - of.begin
      const data = hasGaps ? [of.data[from], of.data[from + 1]] : [of.data[from]]
      for (const message of data) if (message) deliver(id, to, message)
    }
  }
  function deliver(id: number, to: number, message: number) {
    begin(() => `broker ${id} sends to ${to}: ${JSON.stringify(messages.at(message))}`)
    if (lateMessages) next[wire(DATA, id, to)] = message
    else if (!happens(to, hearing(DATA, message, id, to))) return
    prune()
    if (!lateMessages || next[wire(DATA, id, to)] !== current[wire(DATA, id, to)]) tell(next)
  }
  const hearing = (channel: number, message: number, from: number, id: number) =>
    numbered(
      channel,
      message,
      from,
      id,
      () => ({ type: channels[channel]!, from, message: messages.at(message) }) as Happening,
    )
  function takeSend(id: number, of: Facts) {
    const value = configuration.sends - left(current, 'sends') + 1
    if (value > configuration.sends) return
    begin(() => `broker ${id} takes message ${value}`)
    spend('sends')
    breaks(property.onSend(histories.at(next[HISTORY]!), of.termEpoch))
    happens(
      id,
      numbered(SEND, value, 0, id, () => ({ type: 'send', value })),
    )
    end()
  }
  /** A master changes its set, hands over, or forgets the beginning of its log. */
  function change(id: number, of: Facts) {
    if (left(current, 'proposals') > 0) {
      for (const number of of.proposals) {
        begin(() => `broker ${id} proposes: ${swaps.at(next[SWAP + id]!)?.state.cause}`, true)
        spend('proposals')
        happens(id, number)
        end()
      }
    }
    if (left(current, 'handovers') > 0 && of.mayHandOver) for (const to of ids) handOver(id, to)
    if (of.isDraining) {
      begin(() => `broker ${id} gives up handing over`)
      happens(
        id,
        numbered(LIMIT, 0, 0, id, () => ({ type: 'limit' })),
      )
      end()
    }
    // The last piece of a log always stays.
    const { begin: from, confirm } = replicaAt(current, id)
    const to = Math.min(confirm, endOf(replicaAt(current, id)) - 1)
    if (left(current, 'retentions') > 0 && to > from) {
      begin(() => `broker ${id} drops what lies before ${to}`, true)
      spend('retentions')
      happens(id, own.numbered(id, { type: 'retain', from: to }))
      end()
    }
  }
  function handOver(id: number, to: number) {
    const { incarnation } = replicaAt(current, to)
    begin(() => `broker ${id} is asked to hand over to ${to}`, true)
    spend('handovers')
    const event = { type: 'handover.requested', brokerId: to, incarnation } as const
    if (happens(id, own.numbered(id, { type: 'event', event })) && replicaAt(next, id).isHolding) end()
  }
  function crash(id: number) {
    const { begin: from, synced } = replicaAt(current, id)
    const last = endOf(replicaAt(current, id))
    const fall = (budget: 'crashes' | 'losses', to: number) => {
      begin(
        () => `broker ${id} ${budget === 'crashes' ? 'is killed' : `loses power and all from ${to} on`}`,
        true,
      )
      spend(budget)
      happens(
        id,
        numbered(CRASH, to, 0, id, () => ({ type: 'crash', end: to })),
      )
      orphan(id)
      end()
    }
    if (left(current, 'crashes') > 0) fall('crashes', last)
    if (left(current, 'losses') > 0) for (let to = Math.max(from, synced); to < last; to++) fall('losses', to)
  }
  function orphan(id: number) {
    leave(id)
    const swap = swaps.at(next[LEFT + id]!)
    if (swap) next[LEFT + id] = swaps.of({ ...swap, isOrphan: true })
  }

  // A broker's swap: done, answered, or its answer lost.
  function resolve(id: number) {
    if (current[SWAP + id] !== 0) {
      doSwap(id, SWAP + id)
      answerSwap(id, SWAP + id)
      loseAnswer(id)
    }
    if (current[LEFT + id] !== 0) {
      doSwap(id, LEFT + id)
      if (lateAnswers && !swaps.at(current[LEFT + id]!)!.isOrphan) answerSwap(id, LEFT + id)
    }
  }
  function doSwap(id: number, column: number) {
    const number = current[column]!
    const swap = swaps.at(number)!
    if (swap.revision > 0) return
    begin(() => `the register does the swap of broker ${id}: ${JSON.stringify(head(next))}`)
    if (!swapIn(id, number)) return
    next[column] = paired(4, number, revision(next), () => swaps.of({ ...swap, revision: revision(next) }))
    informController()
    end()
  }
  function answerSwap(id: number, column: number) {
    const number = current[column]!
    const { state, revision: done, expected } = swaps.at(number)!
    const { writeId } = state
    if (done === 0 && expected === revision(current)) return
    const answer = (): BrokerRoleEvent =>
      done > 0
        ? { type: 'swap.succeeded', writeId, revision: done }
        : { type: 'swap.conflicted', writeId, head: head(current) }
    begin(() => `broker ${id} hears ${JSON.stringify(answer())}`)
    next[column] = 0
    if (column >= LEFT) saw('a late answer')
    const at = done > 0 ? 0 : current[REGISTER]!
    happens(
      id,
      numbered(ANSWERED, number * 65_536 + at, 0, id, () => ({ type: 'event', event: answer() })),
    )
    end()
  }
  function loseAnswer(id: number) {
    const number = current[SWAP + id]!
    const { writeId } = swaps.at(number)!.state
    begin(() => `broker ${id} does not learn what became of its swap`)
    const unknown = { type: 'swap.unknown', writeId } as const
    happens(
      id,
      numbered(UNKNOWN, number, 0, id, () => ({ type: 'event', event: unknown })),
    )
    happens(
      id,
      numbered(RETRY, 0, 0, id, () => ({ type: 'retry' })),
    )
    if (next[SWAP + id] !== number) saw('a swap is tried again')
    // It was answered, by this; it may be done all the same.
    const old = swaps.at(next[LEFT + id]!)
    if (next[LEFT + id] !== current[LEFT + id] && old) next[LEFT + id] = swaps.of({ ...old, isOrphan: true })
    end()
  }

  function elect() {
    if (current[SWAP + count] !== 0) {
      begin(() => `the register does the controller's swap: ${JSON.stringify(head(next))}`)
      return applyElection()
    }
    const now = head(current)
    if (now !== null && now.epoch >= epochs) return
    const votes = ids.map((id) => facts(current[id]!, id).vote)
    for (const { state, swap } of control.ballots(current[CONTROL]!, votes, left(current, 'unclean') > 0)) {
      begin(() => `the controller elects ${swap.state.masterId}: ${JSON.stringify(swap.state)}`, true)
      next[CONTROL] = state
      next[SWAP + count] = once(swap, () => swaps.of({ ...swap, revision: 0, isOrphan: false }))
      if (swap.state.cause === 'unclean') spend('unclean')
      if (staleVotes) end()
      else applyElection()
    }
  }
  function applyElection() {
    const number = next[SWAP + count]!
    const { writeId } = swaps.at(number)!.state
    if (!swapIn(-1, number)) return
    next[SWAP + count] = 0
    const now = head(next)!
    next[CONTROL] = paired(5, next[CONTROL]!, next[REGISTER]!, () =>
      rules.swaps === production.swaps
        ? control.heard(control.succeeded(next[CONTROL]!, writeId, now.revision), now)
        : control.tracking(now),
    )
    end()
  }
  function rollBack() {
    const { before } = registers.at(current[REGISTER]!)
    if (before === null) return
    begin(() => `the register goes back to ${JSON.stringify(before)}`, true)
    spend('rollbacks')
    next[REGISTER] = registers.of({ head: before, origin: before, earlier: [], before: null })
    next[SWAP + count] = 0
    next[CONTROL] = control.tracking(before)
    end()
  }
  /** Everything stops, the register is lost, and everything starts again. */
  function wipe() {
    begin(() => 'all stop; the register is lost', true)
    spend('wipes')
    for (const id of ids) {
      if (facts(next[id]!, id).isUp) {
        happens(id, own.numbered(id, { type: 'crash', end: endOf(replicaAt(next, id)) }))
        happens(
          id,
          numbered(RESTART, 0, 0, id, () => ({ type: 'restart' })),
        )
      }
      next[SWAP + id] = next[LEFT + id] = 0
    }
    next.fill(0, NET, HISTORY)
    next[REGISTER] = next[SWAP + count] = 0
    next[CONTROL] = control.booting
    end()
  }

  // -------------------------------------------------------------------------------------------------- the first world

  const property = properties({
    configuration,
    rules,
    ids,
    replicaAt,
    head,
    termOf: (world, id) => (facts(world[id]!, id).isServing ? replicaAt(world, id).term : null),
    losses: (world) => left(world, 'losses'),
    isUnclean: (world) => left(world, 'unclean') < (configuration.unclean ?? 0),
    breaks,
    saw,
  })

  /** Nothing can happen any more: the master that the register names serves, and everything is everywhere. */
  function isAtRest(world: Int32Array): boolean {
    const now = head(world)
    if (now === null) return false
    const master = replicaAt(world, now.masterId!)
    const isEligible = (id: number) =>
      memberOf(now.syncStateSet, id)?.lineage === replicaAt(world, id).lineage
    // Who may be elected, and cannot be since elections are used up.
    if (master.incarnation !== now.masterIncarnation) return now.epoch >= epochs || !ids.some(isEligible)
    const isServed = ids.every((id) => {
      const { term, following } = replicaAt(world, id)
      return id === now.masterId ? term?.epoch === now.epoch && isSettled(id) : following?.isStreaming
    })
    function isSettled(id: number) {
      return facts(world[id]!, id).mayHandOver
    }
    const counts =
      now.syncStateSet.every(({ brokerId }) => isEligible(brokerId)) && now.syncStateSet.length >= minInSync
    return isServed && (!counts || master.confirm === endOf(master))
  }

  const first = (() => {
    current = world0
    next.fill(0)
    const member = (brokerId: number) => ({ brokerId, lineage: 0 })
    const origin: Head | null = configuration.startsEmpty
      ? null
      : {
          writeId: 'first',
          epoch: 1,
          masterId: 0,
          masterIncarnation: 1,
          syncStateSet: ids.map(member),
          replicas: count,
          minInSync,
          replication: 'sync',
          cause: 'boot',
          unclean: false,
          revision: 1,
        }
    next[REGISTER] = registers.of({ head: origin, origin, earlier: [], before: null })
    next[CONTROL] = origin ? control.tracking(origin) : control.booting
    const blank: Replica = {
      state: -1,
      promised: 0,
      incarnation: 0,
      lineage: 0,
      log: [],
      begin: 0,
      earlier: [],
      acted: 0,
      confirm: 0,
      synced: 0,
      hasLost: false,
      remains: null,
      writes: [],
      term: null,
      following: null,
      isHolding: false,
    }
    for (const id of ids) {
      next[id] = own.all.of(blank)
      happens(id, own.numbered(id, { type: 'restart' }))
      if (origin) {
        happens(id, own.numbered(id, { type: 'event', event: { type: 'head.changed', head: origin } }))
        happens(id, own.numbered(id, { type: 'written', file: 'promises' }))
      }
    }
    next[BUDGET] = budgets.reduce((sum, name) => sum + ((configuration[name] ?? 0) << shifts[name]), 0)
    return next.slice()
  })()

  return {
    width,
    first,
    steps,
    step: () => ({ name: step.name(), isPerturbation: step.isPerturbation, breaks: step.breaks }),
    breaks: (world) => property.of(world, histories.at(world[HISTORY]!)),
    breaksAtEnd: (world) => (isAtRest(world) ? null : names.served),
    describe: (world) =>
      [
        `register ${JSON.stringify(head(world))}`,
        ...ids.map((id) => {
          const replica = replicaAt(world, id)
          const value = JSON.stringify(snapshotOf(replica)?.value ?? 'down')
          return `broker ${id} ${value} ${JSON.stringify(replica)}`
        }),
        `history ${JSON.stringify(histories.at(world[HISTORY]!))}`,
      ].join('\n'),
    seen,
    tables: { brokerRole: own.table, controller: control.table },
  }
}
