/** What a member of a group asks of coordinator and brokers, and when: both are the test, and time is virtual. */
import test from 'ava'
import { joinGroup } from '../../actors/consumer/group-member.ts'
import type { Process } from '../../actors/node/process.ts'
import type { QueueRef } from '../../machines/topic.ts'
import { queueKey } from '../../machines/topic.ts'
import { accept, encode } from '../../transport/codec.ts'
import { fail, type Outcome, succeed } from '../../transport/failures.ts'
import type { AssignmentPush } from '../../transport/messages.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { notedLog } from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const subjects = subjectsOf('test')
const ref: QueueRef = { topic: 'orders', brokerName: 'a', queueId: 0 }

/** A member of a group of one, at one broker. `answers` are by the last word of the subject; null: there is none. */
function bench(leaveMs = 35_000) {
  const clock = virtualClock()
  const log: string[] = []
  const heard = new Map<string, (payload: Buffer, reply: string) => void>()
  const replies: string[] = []
  const asked: { what: string; request: Record<string, unknown> }[] = []
  const cluster = {
    ...{ nameServerId: 'n', revision: 1 },
    brokers: [
      {
        ...{ brokerName: 'a', brokerId: 0, role: 'master', epoch: 1, incarnation: 1 },
        ...{ autoCreateTopic: true, topics: 1 },
      },
    ],
  }
  const granted = { granted: true, assignEpoch: 1, committed: 0, minOffset: 0, maxOffset: 9, isLater: false }
  const answers: Record<string, object | null> = {
    ...{ cluster, join: { accepted: true }, 'member-beat': {}, leave: {}, claim: granted, release: {} },
  }
  const transport = {
    subscribe(subject: string, hear: (payload: Buffer, reply: string) => void) {
      heard.set(subject, hear)
      return { unsubscribe: () => heard.delete(subject) }
    },
    publish: (subject: string) => void replies.push(subject),
    request(subject: string, payload: Uint8Array, ms: number, answer: (outcome: Outcome<Buffer>) => void) {
      const what = subject.split('.').at(-1)!
      asked.push({ what, request: JSON.parse(Buffer.from(payload).toString()) })
      const value = answers[what]
      if (value) clock.defer(() => answer(succeed(Buffer.from(encode(accept(value))))))
      else clock.setTimeout(() => answer(fail('timedOut', 'no answer')), ms)
    },
  }
  const world = { clock, log: notedLog(), transport, random: { id: () => 'i1' } }
  const process = { id: 'p', subjects, world, directory: { add: () => () => {} } } as unknown as Process
  const drains: ((offset: number | null) => void)[] = []
  const member = joinGroup(process, {
    group: 'g',
    member: {
      ...{ clientId: 'me', subscriptions: { orders: '*' }, allocation: 'averagely', room: '' },
      ...{ queues: [], consumerRooms: [], isStatic: false, sessionMs: 10_000 },
    },
    allocate: null,
    masters: { epochOf: () => 1, unreachable: () => {} },
    granted: (grants) => void log.push(`granted ${grants.map(({ claim }) => claim.assignEpoch)}`),
    drain: (_, drained) => {
      log.push('drain')
      drains.push(drained)
    },
    released: () => void log.push('released'),
    drop: () => void log.push('drop'),
    assigned: () => {},
    settled: () => {},
    refused: () => {},
    left: () => void log.push('left'),
    leaveMs,
  })
  clock.settle()
  return {
    ...{ clock, log, asked, answers, drains, member, replies },
    /** The coordinator tells a division: these queues are ours. */
    tell(generation: number, ...queues: QueueRef[]) {
      this.tellAs('i1', generation, queues)
    },
    tellAs(instance: string, generation: number, queues: QueueRef[]) {
      const push: AssignmentPush = {
        ...{ group: 'g', generation, instance, members: ['me'] },
        queues: queues.map(queueKey),
      }
      heard.get(subjects.assignmentChanged('g', 'me'))!(Buffer.from(encode(push)), `reply-${generation}`)
      clock.settle()
    },
    /** The requests of a kind. */
    of: (what: string) => asked.filter((one) => one.what === what).map(({ request }) => request),
  }
}

test('member: what it claims and gives back says which process of its name it is', (t) => {
  const it = bench()
  it.tell(1, ref)
  it.tell(2)
  it.drains[0]!(7)
  it.clock.settle()
  t.like(it.of('claim')[0], { clientId: 'me', instance: 'i1', generation: 1 })
  t.like(it.of('release')[0], { clientId: 'me', instance: 'i1', assignEpoch: 1, offset: 7 })
  t.deepEqual(it.log, ['granted 1', 'drain', 'released'])
})

test('member: queues that are in doubt are dropped in the same call, and asked for again', (t) => {
  const it = bench()
  it.tell(1, ref)
  it.member.doubted([{ ...ref, assignEpoch: 1 }])
  t.deepEqual(it.log, ['granted 1', 'drop'])
  it.clock.settle()
  t.is(it.of('claim').length, 2)
  t.deepEqual(it.log, ['granted 1', 'drop', 'granted 1'])
})

test('member: one that is closed waits for what runs as long as it was told, and beats meanwhile', (t) => {
  const it = bench(90_000)
  it.tell(1, ref)
  it.member.close()
  it.clock.advance(80_000)
  t.deepEqual(it.log, ['granted 1', 'drain'])
  t.true(it.of('member-beat').length > 39)
  it.drains[0]!(5)
  it.clock.settle()
  t.is(it.of('release')[0]!.offset, 5)
  t.deepEqual(it.log, ['granted 1', 'drain', 'released', 'left'])
})

test('member: it answers when it is told its share, and NEVER for another process of its name', (t) => {
  const it = bench()
  it.tell(1, ref)
  it.tellAs('i2', 2, [])
  t.deepEqual(it.replies, ['reply-1'])
  t.deepEqual(it.log, ['granted 1'])
})

test('member: one that is closed does not wait for a broker that is gone for longer', (t) => {
  const it = bench(6_000)
  it.tell(1, ref)
  it.answers.release = null
  it.member.close()
  it.drains[0]!(5)
  it.clock.advance(5_999)
  t.false(it.log.includes('left'))
  it.clock.advance(1)
  t.true(it.log.includes('left'))
  it.clock.advance(60_000)
  t.is(it.clock.timers, 0)
})
