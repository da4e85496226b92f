/**
 * A consumer group on a bad network: consumers come, leave and crash, the coordinator is lost, messages are delayed,
 * reordered and lost. The machines are those of production; the brokers of the queues are a table.
 */
import test from 'ava'
import { type Actor, createActor } from 'xstate'
import { bind } from '../../machines/effect.ts'
import { groupCoordinatorMachine } from '../../machines/group-coordinator.ts'
import { type Holding, type RebalancerEvent, rebalancerMachine } from '../../machines/rebalancer.ts'
import { queueKey } from '../../machines/topic.ts'
import { seededRandom, seedOfRun } from '../support/seeded-random.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const REQUEST_MS = 1_000
const PULL_MS = 100
const RUNS = 20

type Claim = { queue: string; generation: number }
type Owner = { clientId: string; generation: number }
type Reply<T> = (answer: T) => void
type Consumer = {
  clientId: string
  hear(event: RebalancerEvent): void
  owned(): Claim[]
  readonly isSettled: boolean
  close(): void
  crash(): void
}

function simulate(seed: number, queueCount: number) {
  const random = seededRandom(seed)
  const clock = virtualClock()
  const queues = Array.from({ length: queueCount }, (_, queueId) => ({
    topic: 't',
    brokerName: 'b',
    queueId,
  }))
  const consumers = new Set<Consumer>()
  const owners = new Map<string, Owner>()
  const forced: string[] = []
  const broken: string[] = []
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
  function request<T>(serve: (reply: Reply<T>) => void, answer: (answer: T | null) => void): void {
    let isOpen = true
    const close = (value: T | null) => {
      if (!isOpen) return
      isOpen = false
      answer(value)
    }
    carry(() => serve((value) => carry(() => close(value))))
    clock.setTimeout(() => close(null), REQUEST_MS)
  }

  // --------------------------------------------------------------------------- the brokers of the queues

  function grant({ queue, generation }: Claim, clientId: string, force: boolean): Owner | null {
    const owner = owners.get(queue)
    if (owner && owner.clientId !== clientId && !(force && generation > owner.generation)) return owner
    if (owner && owner.clientId !== clientId) forced.push(`${queue} of ${owner.clientId} for ${clientId}`)
    owners.set(queue, { clientId, generation })
    return null
  }
  function release({ queue, generation }: Claim, clientId: string): void {
    const owner = owners.get(queue)
    if (owner?.clientId === clientId && owner.generation <= generation) owners.delete(queue)
  }
  const isOwner = ({ queue, generation }: Claim, clientId: string): boolean => {
    const owner = owners.get(queue)
    return owner?.clientId === clientId && owner.generation === generation
  }

  // ----------------------------------------------------------------------------------------- the coordinator

  type Answered = { welcome?: { generation: number; members: any[] }; isRefused?: true; isRejected?: true }
  let coordinator: Actor<typeof groupCoordinatorMachine>
  let answer: Reply<Answered> = () => {}

  function startCoordinator(): void {
    coordinator?.stop()
    const machine = bind(groupCoordinatorMachine, {
      welcomeMember: (welcome) => answer({ welcome }),
      refuseMember: () => answer({ isRefused: true }),
      rejectBeat: () => answer({ isRejected: true }),
      pushMembers: (membership) => {
        for (const { hear } of consumers) carry(() => hear({ type: 'members.changed', ...membership }))
      },
    })
    coordinator = createActor(machine, { input: { group: 'g' }, clock }).start()
  }
  function tell(event: Parameters<typeof coordinator.send>[0], reply: Reply<Answered>): void {
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

  function startConsumer(clientId: string): Consumer {
    const instance = random.id()
    let isAlive = true
    const drains = new Map<string, number>()

    const machine = bind(rebalancerMachine, {
      joinGroup: ({ topics, generation }) =>
        request<Answered>(
          (reply) => tell({ type: 'member.joined', clientId, instance, topics, generation }, reply),
          (answered) => {
            if (answered?.welcome) hear({ type: 'member.welcomed', ...answered.welcome })
            else if (answered) hear({ type: 'join.refused', code: 'refused', message: '' })
            else hear({ type: 'join.failed', code: 'timedOut', message: '' })
          },
        ),
      sendBeat: ({ generation }) =>
        request<Answered>(
          (reply) => tell({ type: 'member.beat', clientId, instance, generation }, reply),
          (answered) => {
            if (!answered) hear({ type: 'beat.failed' })
            else if (answered.isRejected) hear({ type: 'beat.rejected' })
          },
        ),
      leaveGroup: () => {
        consumers.delete(consumer)
        carry(() => tell({ type: 'member.left', clientId, instance }, () => {}))
      },
      claimQueue: ({ queue, generation, force }) =>
        request<{ owner: Owner | null }>(
          (reply) => reply({ owner: grant({ queue, generation }, clientId, force) }),
          (answered) => {
            if (!answered) hear({ type: 'claim.failed', queue, generation })
            else if (!answered.owner) hear({ type: 'queue.claimed', queue, generation })
            else {
              const { clientId: owner, generation: ownerGeneration } = answered.owner
              hear({ type: 'claim.refused', queue, generation, owner, ownerGeneration })
            }
          },
        ),
      drainQueue: (claim) => {
        const drain = (drains.get(claim.queue) ?? 0) + 1
        drains.set(claim.queue, drain)
        clock.setTimeout(() => letGo(claim, drain), random.below(300))
      },
      dropQueue: ({ queue }) => void drains.delete(queue),
      announceAssignment: () => {},
      reportRefused: () => {},
    })
    const actor = createActor(machine, {
      input: { group: 'g', clientId, instance, topics: ['t'], allocation: 'averagely' },
      clock,
    })
    function hear(event: RebalancerEvent): void {
      if (isAlive) actor.send(event)
    }
    /** Asks until it is answered; a later drain or a drop of the same queue takes over. */
    function letGo(claim: Claim, drain: number): void {
      if (!isAlive || drains.get(claim.queue) !== drain) return
      request<true>(
        (reply) => {
          release(claim, clientId)
          reply(true)
        },
        (released) => {
          if (drains.get(claim.queue) !== drain) return
          if (released) hear({ type: 'queue.drained', queue: claim.queue })
          else letGo(claim, drain)
        },
      )
    }
    function pull(): void {
      if (!isAlive) return
      for (const claim of owned()) {
        request<boolean>(
          (reply) => reply(isOwner(claim, clientId)),
          (isMine) => {
            if (isMine === false) hear({ type: 'queue.fenced', ...claim })
          },
        )
      }
      clock.setTimeout(pull, PULL_MS)
    }
    const held = (): [string, Holding][] => Object.entries(actor.getSnapshot().context.held)
    const owned = (): Claim[] =>
      held().flatMap(([queue, { status, generation }]) => (status === 'owned' ? { queue, generation } : []))

    const consumer: Consumer = {
      clientId,
      hear,
      owned,
      get isSettled() {
        const snapshot = actor.getSnapshot()
        return (
          snapshot.matches({ member: { balance: 'balanced' } }) ||
          snapshot.matches({ member: { balance: 'idle' } })
        )
      },
      close: () => hear({ type: 'consumer.closed' }),
      crash() {
        isAlive = false
        consumers.delete(consumer)
        actor.stop()
      },
    }
    consumers.add(consumer)
    actor.start()
    hear({ type: 'queues.changed', topic: 't', queues })
    pull()
    return consumer
  }

  // ------------------------------------------------------------------------------------------------ the proof

  function check(): void {
    const readers = new Map<string, string>()
    for (const { clientId, owned } of consumers) {
      for (const { queue, generation } of owned()) {
        const key = `${queue} at generation ${generation}`
        if (readers.has(key)) broken.push(`${key} is owned by ${readers.get(key)} and ${clientId}`)
        readers.set(key, clientId)
      }
    }
  }

  startCoordinator()
  return {
    random,
    consumers,
    forced,
    broken,
    startConsumer,
    startCoordinator,
    advance: (ms: number) => clock.advance(ms),
    lose: (share: number) => {
      loss = share
    },
    /** Every queue, and who owns it as they see it and as its broker does: null when that is not the same one. */
    assignment: () =>
      queues.map(queueKey).map((queue) => {
        const readers = [...consumers].filter(({ owned }) => owned().some((claim) => claim.queue === queue))
        const [reader] = readers
        return readers.length === 1 && owners.get(queue)?.clientId === reader?.clientId
          ? reader!.clientId
          : null
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

test('group: no queue has two owners at one generation, and all are owned once the group is stable', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 1 + (seed % 9))
    const { random, consumers } = sim
    let last = 0
    sim.lose(random.below(3) * 0.1)
    for (let step = 0; step < 25; step++) {
      const any = [...consumers][random.below(consumers.size)]
      const dice = random.below(10)
      if (dice < 4 && consumers.size < 5) sim.startConsumer(`c${++last}`)
      else if (dice < 6) any?.close()
      else if (dice < 8) any?.crash()
      else if (dice < 9) sim.startCoordinator()
      sim.advance(random.below(6_000))
    }
    sim.lose(0)
    sim.startConsumer('last')
    sim.advance(90_000)
    t.deepEqual(sim.broken, [], replay(seed))
    t.true(sim.isSettled(), replay(seed))
    t.false(sim.assignment().includes(null), replay(seed))
  }
})

test('group: a clean leave hands over without force', (t) => {
  for (const seed of seeds) {
    const sim = simulate(seed, 8)
    startOneByOne(sim, ['c1', 'c2', 'c3'])
    sim.advance(20_000)
    t.deepEqual(sim.assignment(), ['c1', 'c1', 'c1', 'c2', 'c2', 'c2', 'c3', 'c3'], replay(seed))
    ;[...sim.consumers][1]!.close()
    sim.advance(5_000)
    t.deepEqual(sim.assignment(), ['c1', 'c1', 'c1', 'c1', 'c3', 'c3', 'c3', 'c3'], replay(seed))
    t.deepEqual(sim.forced, [], replay(seed))
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
