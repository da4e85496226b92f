/**
 * A consumer group on a bad network: consumers come, leave, fall silent and crash, the coordinator and the broker are
 * lost, messages are delayed, reordered and lost. The machines and the broker's table of owners are those of production.
 */
import test from 'ava'
import { type Actor, createActor } from 'xstate'
import { BrokerState } from '../../actors/broker/broker-state.ts'
import { type ClaimOutcome, QueueOwners } from '../../actors/broker/queue-owners.ts'
import type { Allocation } from '../../machines/allocation/index.ts'
import { bind } from '../../machines/effect.ts'
import { COORDINATORS } from '../../machines/generation.ts'
import {
  type Assignment,
  type GroupCoordinatorEvent,
  groupCoordinatorMachine,
} from '../../machines/group-coordinator.ts'
import { type RebalancerEvent, rebalancerMachine } from '../../machines/rebalancer.ts'
import { queueKey } from '../../machines/topic.ts'
import { seededRandom, seedOfRun } from '../support/seeded-random.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const REQUEST_MS = 2_000
/** A claim that waits is answered after two seconds. */
const CLAIM_MS = 4_000
const PULL_MS = 100
const RUNS = 20

type Grant = { queue: string; assignEpoch: number }
type Reply<T> = (answer: T) => void
type Consumer = {
  clientId: string
  hear(event: RebalancerEvent): void
  heed(told: Assignment): void
  owned(): Grant[]
  readonly isSettled: boolean
  /** Whether it was turned away for good. */
  readonly isRefused: boolean
  close(): void
  crash(): void
  /** Nothing of it is heard, and it hears nothing. */
  pause(): void
  wake(): void
}
type ConsumerOptions = { isStatic?: boolean; sessionMs?: number }

function simulate(seed: number, queueCount: number, allocation: Allocation = 'averagely') {
  const random = seededRandom(seed)
  const clock = virtualClock()
  const queues = Array.from({ length: queueCount }, (_, queueId) => ({
    topic: 't',
    brokerName: 'b',
    queueId,
  }))
  const consumers = new Set<Consumer>()
  const forced: string[] = []
  const broken: string[] = []
  /** Of each queue what was read, in order. */
  const read = new Map<string, number[]>(queues.map((queue) => [queueKey(queue), []]))
  let moves = 0
  let loss = 0

  // ------------------------------------------------------------------------------------------- the network

  function carry(deliver: () => void): void {
    if (random.next() < loss) return
    clock.setTimeout(() => {
      deliver()
      check()
    }, 1 + random.below(50))
  }

  /** Answers exactly once: what `serve` replied, or null when that did not arrive in time. */
  function request<T>(
    serve: (reply: Reply<T>) => void,
    answer: (answer: T | null) => void,
    limitMs = REQUEST_MS,
  ): void {
    let isOpen = true
    const close = (value: T | null) => {
      if (!isOpen) return
      isOpen = false
      answer(value)
    }
    carry(() => serve((value) => carry(() => close(value))))
    clock.setTimeout(() => close(null), limitMs)
  }

  // -------------------------------------------------------------------------------- the broker of the queues

  const state = new BrokerState(() => clock.monotonic())
  let owners: QueueOwners
  const placeOf = (queue: string) => ({ group: 'g', topic: 't', queueId: Number(queue.slice('t/b/'.length)) })
  const keyAt = (queue: string): string => queue.replace('/b/', '/')
  const ownerOf = (queue: string): string | null => owners.of('g', keyAt(queue))?.clientId ?? null
  const committedOf = (queue: string): number => state.offsets.get('g')?.get(keyAt(queue)) ?? 0

  /** A later master: it knows what is in the log, and no claim that waited. */
  function startBroker(): void {
    owners?.close()
    const saved = JSON.parse(JSON.stringify(state.save()))
    state.restore(saved)
    owners = new QueueOwners(state, clock, {
      record(change) {
        const before = state.ownership('g', `t/${change.queueId}`).owner
        if (before && change.owner && before.clientId !== change.owner.clientId) {
          forced.push(`${change.queueId} of ${before.clientId} for ${change.owner.clientId}`)
        }
        if (change.offset !== null && change.offset < committedOf(`t/b/${change.queueId}`)) {
          broken.push(`queue ${change.queueId} goes back to ${change.offset}`)
        }
        state.changeOwner(change)
      },
      afterStored: (run) => void clock.setTimeout(run, random.below(5)),
      ownerChanged: () => {},
    })
  }

  // ----------------------------------------------------------------------------------------- the coordinator

  type Answered = { isAccepted?: true; isRefused?: { isFinal: boolean; message: string }; isRejected?: true }
  let coordinator: Actor<typeof groupCoordinatorMachine>
  let answer: Reply<Answered> = () => {}

  function startCoordinator(): void {
    coordinator?.stop()
    const machine = bind(groupCoordinatorMachine, {
      acceptMember: () => answer({ isAccepted: true }),
      refuseMember: ({ isFinal, message }) => answer({ isRefused: { isFinal, message } }),
      rejectBeat: () => answer({ isRejected: true }),
      pushAssignment: (told) => {
        for (const { heed } of consumers) carry(() => heed(told))
      },
      watchTopics: ({ topics }) => {
        const to = coordinator
        for (const topic of topics) {
          clock.setTimeout(() => {
            if (to === coordinator) to.send({ type: 'queues.changed', topic, queues })
          }, random.below(100))
        }
      },
      measureLags: () => {},
      reportGone: () => {},
      noteRebalance: (note) => {
        moves += note.moves
      },
    })
    coordinator = createActor(machine, { input: { group: 'g', number: random.below(COORDINATORS) }, clock })
    coordinator.start()
  }
  function tell(event: GroupCoordinatorEvent, reply: Reply<Answered>): void {
    let isAnswered = false
    answer = (answered) => {
      isAnswered = true
      reply(answered)
    }
    coordinator.send(event)
    if (event.type === 'member.beat' && !isAnswered) reply({})
    answer = () => {}
  }

  // -------------------------------------------------------------------------------------------- the consumers

  function startConsumer(
    clientId: string,
    { isStatic = false, sessionMs = 10_000 }: ConsumerOptions = {},
  ): Consumer {
    const instance = random.id()
    const member = {
      ...{ clientId, instance, subscriptions: { t: '*' }, allocation, room: '', queues: [] },
      ...{ consumerRooms: [], isStatic, sessionMs },
    }
    let isAlive = true
    let isPaused = false
    let isRefused = false
    const drains = new Map<string, number>()
    /** Of what is read: where it goes on. */
    const positions = new Map<string, number>()

    const say = (event: GroupCoordinatorEvent) => {
      if (!isPaused) carry(() => tell(event, () => {}))
    }
    const ask = <T>(
      serve: (reply: Reply<T>) => void,
      answered: (answer: T | null) => void,
      limitMs?: number,
    ) =>
      request<T>(
        (reply) => {
          if (!isPaused) serve(reply)
        },
        (value) => answered(isPaused ? null : value),
        limitMs,
      )

    const machine = bind(rebalancerMachine, {
      joinGroup: ({ group: _, ...joining }) =>
        ask<Answered>(
          (reply) => tell({ type: 'member.joined', ...joining, held: [...joining.held] } as never, reply),
          (answered) => {
            if (answered?.isAccepted) hear({ type: 'join.accepted' })
            else if (answered?.isRefused) {
              hear({ type: 'join.refused', code: 'NO_PERMISSION', ...answered.isRefused })
            } else hear({ type: 'join.failed', code: 'timedOut', message: '' })
          },
        ),
      sendBeat: ({ generation }) =>
        ask<Answered>(
          (reply) => tell({ type: 'member.beat', clientId, instance, generation }, reply),
          (answered) => {
            if (!answered) hear({ type: 'beat.failed' })
            else if (answered.isRejected) hear({ type: 'beat.rejected' })
          },
        ),
      announceLeaving: () => say({ type: 'member.leaving', clientId, instance }),
      leaveGroup: ({ isAway }) => {
        consumers.delete(consumer)
        say({ type: isAway ? 'member.silent' : 'member.left', clientId, instance })
      },
      claimQueue: ({ queue, generation, force, waits }) =>
        ask<ClaimOutcome>(
          (reply) =>
            owners.claim(placeOf(queue), { clientId, instance, generation }, { force, waits }, reply),
          (answered) => {
            if (!answered) hear({ type: 'claim.failed', queue, generation })
            else if (answered.granted) {
              hear({ type: 'queue.claimed', queue, generation, assignEpoch: answered.assignEpoch })
              const isOurs = owned().some(
                (it) => it.queue === queue && it.assignEpoch === answered.assignEpoch,
              )
              if (isOurs) positions.set(queue, committedOf(queue))
            } else {
              const { clientId: owner = null, generation: ownerGeneration = 0 } = answered.owner ?? {}
              hear({ type: 'claim.refused', queue, generation, owner, ownerGeneration })
            }
          },
          CLAIM_MS,
        ),
      drainQueue: ({ queue, ...claimed }) => {
        const id = drainOf(queue, claimed)
        const drain = (drains.get(id) ?? 0) + 1
        drains.set(id, drain)
        clock.setTimeout(() => letGo(queue, claimed, drain), random.below(300))
      },
      dropQueue: ({ queue }) => {
        for (const id of drains.keys())
          if (id.startsWith(`${queue}#`) && !id.includes('#0 of ')) drains.delete(id)
        positions.delete(queue)
      },
      announceAssignment: () => {},
      reportRefused: ({ isFinal }) => {
        isRefused ||= isFinal
      },
    })
    const actor = createActor(machine, { input: { group: 'g', member }, clock })
    function hear(event: RebalancerEvent): void {
      if (isAlive) actor.send(event)
    }
    function heed({ generation, members }: Assignment): void {
      if (isPaused) return
      const own = members.find((listed) => listed.clientId === clientId && listed.instance === instance)
      const share = own ? [...own.queues!] : null
      hear({ type: 'members.changed', generation, members: members.map((listed) => listed.clientId), share })
    }
    /** What was never read is given back without touching what is. */
    const drainOf = (
      queue: string,
      { assignEpoch, generation }: { assignEpoch: number; generation: number },
    ) => (assignEpoch === 0 ? `${queue}#0 of ${generation}` : `${queue}#${assignEpoch}`)
    /** Asks until it is answered; a later drain or a drop of the same queue takes over. */
    function letGo(queue: string, claimed: { generation: number; assignEpoch: number }, drain: number): void {
      if (!isAlive || drains.get(drainOf(queue, claimed)) !== drain) return
      const offset = claimed.assignEpoch === 0 ? null : (positions.get(queue) ?? null)
      ask<true>(
        (reply) => {
          const isNews = offset !== null && offset > committedOf(queue)
          owners.release(placeOf(queue), { clientId, instance, ...claimed, offset: isNews ? offset : null })
          clock.setTimeout(() => reply(true), random.below(5))
        },
        (released) => {
          if (drains.get(drainOf(queue, claimed)) !== drain) return
          if (claimed.assignEpoch !== 0) positions.delete(queue)
          if (released) hear({ type: 'queue.drained', queue, ...claimed })
          else letGo(queue, claimed, drain)
        },
      )
    }
    /** One message of each queue that is ours; each is committed a little later. */
    function pull(): void {
      if (!isAlive) return
      for (const { queue, assignEpoch } of owned()) {
        ask<boolean>(
          (reply) => {
            const place = placeOf(queue)
            const isMine = owners.isOwner('g', keyAt(queue), clientId, assignEpoch)
            const offset = positions.get(queue) ?? 0
            if (isMine && offset > committedOf(queue)) {
              state.changeOffsets({ group: 'g', offsets: [['t', place.queueId, offset]] })
            }
            reply(isMine)
          },
          (isMine) => {
            if (isMine === false) hear({ type: 'queue.fenced', queue, assignEpoch })
            else if (isMine && owned().some((it) => it.queue === queue && it.assignEpoch === assignEpoch)) {
              const position = positions.get(queue) ?? 0
              read.get(queue)!.push(position)
              positions.set(queue, position + 1)
            }
          },
        )
      }
      clock.setTimeout(pull, PULL_MS)
    }
    const owned = (): Grant[] =>
      Object.entries(actor.getSnapshot().context.held).flatMap(([queue, { status, assignEpoch }]) =>
        status === 'owned' ? { queue, assignEpoch } : [],
      )

    const consumer: Consumer = {
      clientId,
      hear,
      heed,
      owned,
      get isSettled() {
        const snapshot = actor.getSnapshot()
        return (
          snapshot.matches({ member: { balance: 'balanced' } }) ||
          snapshot.matches({ member: { balance: 'idle' } })
        )
      },
      get isRefused() {
        return isRefused
      },
      close: () => hear({ type: 'consumer.closed' }),
      crash() {
        isAlive = false
        consumers.delete(consumer)
        actor.stop()
      },
      pause() {
        isPaused = true
      },
      wake() {
        isPaused = false
      },
    }
    consumers.add(consumer)
    actor.start()
    pull()
    return consumer
  }

  // ------------------------------------------------------------------------------------------------ the proof

  function check(): void {
    const readers = new Map<string, string>()
    for (const { clientId, owned } of consumers) {
      for (const { queue, assignEpoch } of owned()) {
        const key = `${queue} under assignEpoch ${assignEpoch}`
        if (readers.has(key)) broken.push(`${key} is owned by ${readers.get(key)} and ${clientId}`)
        readers.set(key, clientId)
      }
    }
  }

  startBroker()
  startCoordinator()
  return {
    random,
    consumers,
    forced,
    broken,
    startConsumer,
    startCoordinator,
    startBroker,
    get moves() {
      return moves
    },
    /** What was passed over, and what was read twice. */
    faults() {
      const skipped: string[] = []
      const twice: string[] = []
      for (const [queue, offsets] of read) {
        let next = 0
        for (const offset of offsets) {
          if (offset > next) skipped.push(`${queue}: ${next} to ${offset - 1}`)
          if (offset < next) twice.push(`${queue}: ${offset}`)
          next = Math.max(next, offset + 1)
        }
      }
      return { skipped, twice }
    },
    advance: (ms: number) => clock.advance(ms),
    lose: (share: number) => {
      loss = share
    },
    /** Every queue, and who owns it as they see it and as its broker does: null when that is not the same one. */
    assignment: () =>
      queues.map(queueKey).map((queue) => {
        const readers = [...consumers].filter(({ owned }) => owned().some((grant) => grant.queue === queue))
        const [reader] = readers
        return readers.length === 1 && ownerOf(queue) === reader?.clientId ? reader!.clientId : null
      }),
    isSettled: () => [...consumers].every((consumer) => consumer.isSettled),
  }
}

/** Not all at once: their beats must not be in step. */
function startOneByOne(
  { startConsumer, advance, random }: ReturnType<typeof simulate>,
  clientIds: string[],
): void {
  for (const clientId of clientIds) {
    startConsumer(clientId)
    advance(random.below(2_000))
  }
}

const base = seedOfRun()
const seeds = Array.from({ length: RUNS }, (_, index) => (base + index) % 2 ** 32)
const replay = (seed: number) => `replay with STATEMQ_SEED=${seed}`

test('group: no queue has two owners under one assignEpoch, nothing is skipped, and all are owned in the end', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 1 + (seed % 9), seed % 2 === 0 ? 'averagely' : 'sticky')
    const { random, consumers } = sim
    let last = 0
    sim.lose(random.below(3) * 0.1)
    for (let step = 0; step < 25; step++) {
      const any = [...consumers][random.below(consumers.size)]
      const dice = random.below(12)
      if (dice < 4 && consumers.size < 5) sim.startConsumer(`c${++last}`, { isStatic: dice === 0 })
      else if (dice < 6) any?.close()
      else if (dice < 8) any?.crash()
      else if (dice < 9) sim.startCoordinator()
      else if (dice < 10) sim.startBroker()
      else if (dice < 11) any?.pause()
      else any?.wake()
      sim.advance(random.below(6_000))
    }
    sim.lose(0)
    for (const consumer of consumers) consumer.wake()
    sim.startConsumer('last')
    sim.advance(90_000)
    t.deepEqual(sim.broken, [], replay(seed))
    t.deepEqual(sim.faults().skipped, [], replay(seed))
    t.true(sim.isSettled(), replay(seed))
    t.false(sim.assignment().includes(null), replay(seed))
  }
})

test('group: in a clean hand-over nothing is forced, nothing is read twice, and nothing is skipped', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 8)
    startOneByOne(sim, ['c1', 'c2', 'c3'])
    sim.advance(20_000)
    t.deepEqual(sim.assignment(), ['c1', 'c1', 'c1', 'c2', 'c2', 'c2', 'c3', 'c3'], replay(seed))
    ;[...sim.consumers][1]!.close()
    sim.advance(5_000)
    t.deepEqual(sim.assignment(), ['c1', 'c1', 'c1', 'c1', 'c3', 'c3', 'c3', 'c3'], replay(seed))
    sim.startConsumer('c0')
    sim.advance(5_000)
    t.deepEqual(sim.assignment(), ['c0', 'c0', 'c0', 'c1', 'c1', 'c1', 'c3', 'c3'], replay(seed))
    t.deepEqual(sim.forced, [], replay(seed))
    t.deepEqual(sim.faults(), { skipped: [], twice: [] }, replay(seed))
  }
})

test('group: a crashed consumer loses its queues to the others after its session', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 4)
    startOneByOne(sim, ['c1', 'c2'])
    sim.advance(20_000)
    ;[...sim.consumers][0]!.crash()
    sim.advance(5_000)
    t.deepEqual(sim.assignment().slice(2), ['c2', 'c2'], replay(seed))
    sim.advance(10_000)
    t.deepEqual(sim.assignment(), ['c2', 'c2', 'c2', 'c2'], replay(seed))
  }
})

for (const [when, ms] of [
  ['a while before', 3_000],
  ['just before', 7_500],
] as const) {
  test(`group: of what a crashed consumer had NOTHING waits for one that crashed ${when} it was missed`, (t) => {
    for (const seed of seeds) {
      const sim = simulate(seed, 9)
      startOneByOne(sim, ['c1', 'c2', 'c3'])
      sim.advance(20_000)
      const [first, second] = [...sim.consumers]
      first!.crash()
      sim.advance(ms)
      second!.crash()
      // It is missed after 5 s, and the queues that were the first one's are free after 10 s.
      sim.advance(Math.max(10_500 - ms, 5_500))
      t.deepEqual(sim.assignment(), ['c3', 'c3', 'c3', null, null, null, 'c3', 'c3', 'c3'], replay(seed))
      sim.advance(10_500)
      t.deepEqual(sim.assignment(), Array(9).fill('c3'), replay(seed))
      t.deepEqual(sim.broken, [], replay(seed))
      t.deepEqual(sim.faults().skipped, [], replay(seed))
    }
  })
}

test('group: one that stood still for less than its session gets what it was passed over for, and nothing is read twice', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 9)
    startOneByOne(sim, ['c1', 'c3'])
    sim.startConsumer('c2', { sessionMs: 30_000 })
    sim.advance(20_000)
    const [first, , second] = [...sim.consumers]
    second!.pause()
    sim.advance(6_000)
    first!.close()
    sim.advance(1_500)
    t.deepEqual(sim.assignment().slice(0, 3), ['c3', 'c3', 'c3'], replay(seed))
    second!.wake()
    sim.advance(6_000)
    t.deepEqual(sim.assignment(), ['c2', 'c2', 'c2', 'c2', 'c2', 'c3', 'c3', 'c3', 'c3'], replay(seed))
    t.deepEqual(sim.forced, [], replay(seed))
    t.deepEqual(sim.faults(), { skipped: [], twice: [] }, replay(seed))
  }
})

test('group: one that was paused for longer than its session is refused at its next pull, and gets its share again', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 4)
    startOneByOne(sim, ['c1', 'c2'])
    sim.advance(20_000)
    const [paused] = [...sim.consumers]
    paused!.pause()
    sim.advance(20_000)
    paused!.wake()
    sim.advance(10_000)
    t.deepEqual(sim.assignment(), ['c1', 'c1', 'c2', 'c2'], replay(seed))
    t.deepEqual(sim.broken, [], replay(seed))
    t.deepEqual(sim.faults().skipped, [], replay(seed))
  }
})

test('group: losing the coordinator moves no queue', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 6)
    startOneByOne(sim, ['c1', 'c2', 'c3'])
    sim.advance(20_000)
    const before = sim.assignment()
    sim.startCoordinator()
    for (let second = 0; second < 20; second++) {
      sim.advance(1_000)
      t.deepEqual(sim.assignment(), before, replay(seed))
    }
    t.true(sim.isSettled(), replay(seed))
    t.deepEqual(sim.forced, [], replay(seed))
    t.deepEqual(sim.faults(), { skipped: [], twice: [] }, replay(seed))
  }
})

test('group: losing the broker in the midst of a hand-over loses no queue', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 8)
    startOneByOne(sim, ['c1', 'c2'])
    sim.advance(20_000)
    sim.startConsumer('c0')
    for (let times = 0; times < 3; times++) {
      sim.advance(sim.random.below(200))
      sim.startBroker()
    }
    sim.advance(10_000)
    t.deepEqual(sim.assignment(), ['c0', 'c0', 'c0', 'c1', 'c1', 'c1', 'c2', 'c2'], replay(seed))
    t.deepEqual(sim.forced, [], replay(seed))
    t.deepEqual(sim.faults(), { skipped: [], twice: [] }, replay(seed))
  }
})

test('group: consumers that died together with the coordinator lose their queues to a newcomer', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 4)
    startOneByOne(sim, ['c1', 'c2', 'c3'])
    sim.advance(20_000)
    for (const consumer of [...sim.consumers]) consumer.crash()
    sim.startCoordinator()
    sim.startConsumer('c4')
    sim.advance(10_000)
    t.deepEqual(sim.assignment(), ['c4', 'c4', 'c4', 'c4'], replay(seed))
  }
})

test('group: a newcomer that is the first at a new coordinator takes no queue by force', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 6)
    startOneByOne(sim, ['c1', 'c2'])
    sim.advance(20_000)
    sim.startCoordinator()
    sim.startConsumer('c3')
    sim.advance(20_000)
    t.deepEqual(sim.assignment(), ['c1', 'c1', 'c2', 'c2', 'c3', 'c3'], replay(seed))
    t.deepEqual(sim.forced, [], replay(seed))
    t.deepEqual(sim.broken, [], replay(seed))
  }
})

test('group: a static member that comes back within its session finds its queues where it left them', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 6)
    startOneByOne(sim, ['c1', 'c2'])
    const place = { isStatic: true, sessionMs: 60_000 }
    const first = sim.startConsumer('c3', place)
    sim.advance(20_000)
    const before = sim.assignment()
    const { moves } = sim
    first.close()
    sim.advance(20_000)
    t.deepEqual(sim.assignment(), ['c1', 'c1', 'c2', 'c2', null, null], replay(seed))
    sim.startConsumer('c3', place).crash() // It died at once, and is started again.
    sim.startConsumer('c3', place)
    sim.advance(10_000)
    t.deepEqual(sim.assignment(), before, replay(seed))
    t.is(sim.moves, moves, replay(seed))
    t.deepEqual(sim.faults(), { skipped: [], twice: [] }, replay(seed))
  }
})

test('group: a static member that does not come back loses its queues after its session', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 4)
    startOneByOne(sim, ['c1'])
    const second = sim.startConsumer('c2', { isStatic: true, sessionMs: 60_000 })
    sim.advance(20_000)
    second.close()
    sim.advance(50_000)
    t.deepEqual(sim.assignment(), ['c1', 'c1', null, null], replay(seed))
    sim.advance(15_000)
    t.deepEqual(sim.assignment(), ['c1', 'c1', 'c1', 'c1'], replay(seed))
    t.deepEqual(sim.faults(), { skipped: [], twice: [] }, replay(seed))
  }
})

test('group: of two that live under one client id the second is turned away, and the first not disturbed', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 4)
    startOneByOne(sim, ['c1'])
    sim.advance(5_000)
    const second = sim.startConsumer('c1')
    sim.advance(4_000)
    t.true(second.isRefused, replay(seed))
    t.deepEqual(second.owned(), [], replay(seed))
    t.is([...sim.consumers][0]!.owned().length, 4, replay(seed))
    t.deepEqual(sim.faults(), { skipped: [], twice: [] }, replay(seed))
  }
})

test('group: whoever takes the place of one that died does not wait for the session of that one', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 4)
    startOneByOne(sim, ['c1', 'c2'])
    sim.startConsumer('c3', { sessionMs: 600_000 })
    sim.advance(20_000)
    const before = sim.assignment()
    ;[...sim.consumers][2]!.crash()
    sim.startConsumer('c3', { sessionMs: 600_000 })
    sim.advance(9_000)
    t.deepEqual(sim.assignment(), before, replay(seed))
    t.deepEqual(sim.broken, [], replay(seed))
  }
})
