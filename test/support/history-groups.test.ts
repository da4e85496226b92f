/** The checker of histories, held against histories of replicated brokers: what excuses a loss, and what does not. */
import test from 'ava'
import { type AnomalyName, check, type HistoryEvent, type LoggedMessage } from './history.ts'

const BROKER = 'broker-a'
const QUEUE = 'orders/broker-a/0'
const EVERY_MS = 100

/** One event every moment; a number lets so many milliseconds pass. */
function namesIn(...events: (HistoryEvent | number)[]): AnomalyName[] {
  let at = 0
  const happened = events.flatMap((event) => {
    at += typeof event === 'number' ? event : EVERY_MS
    return typeof event === 'number' ? [] : [{ ...event, at }]
  })
  return [...new Set(check(happened).map(({ name }) => name))]
}

const formed = (replication: 'sync' | 'async', maxLagBytes = 100): HistoryEvent => ({
  ...{ type: 'group.formed', broker: BROKER, replication, maxLagBytes },
})
const head = (epoch: number, masterId: number, members: number[], cause = 'failover'): HistoryEvent => ({
  ...{ type: 'head.changed', broker: BROKER, epoch, masterId, members, cause },
})
const served = (epoch: number, process: string): HistoryEvent => ({
  ...{ type: 'epoch.served', broker: BROKER, epoch, process },
})
const powerLost = (replica: number): HistoryEvent => ({ type: 'tail.lost', broker: BROKER, replica })
const cut = (replica: number, messages: number): HistoryEvent => ({
  ...{ type: 'log.cut', broker: BROKER, replica, messages },
})
const sent = (sequence: number, bytes = 10): HistoryEvent => ({
  ...{ type: 'send.invoked', message: `s/${sequence}`, sender: 's', sequence, messageGroup: null, bytes },
})
const stored = (offset: number, message: string, epoch: number): HistoryEvent => ({
  ...{ type: 'send.stored', message, queue: QUEUE, offset, epoch, messageId: `id-${message}` },
})
const logged = (offset: number, message: string, epoch: number): LoggedMessage => ({
  ...{ offset, epoch, message, messageId: `id-${message}`, frame: message },
})
const log = (...messages: LoggedMessage[]): HistoryEvent => ({
  ...{ type: 'log.read', queue: QUEUE, minOffset: 0, maxOffset: messages.length, messages },
})
const delivered = (offset: number, message: string, epoch: number): HistoryEvent => ({
  ...{ type: 'message.delivered', group: 'g', consumer: 'c', queue: QUEUE, attempt: 1, isOrdered: false },
  ...{ offset, message, epoch, messageId: `id-${message}` },
})
const handled: HistoryEvent = { type: 'message.handled', group: 'g', consumer: 'c', queue: QUEUE, offset: 0 }

/** One message that was acknowledged in epoch 1 by replica 0 and is gone. */
const oneLost = (replication: 'sync' | 'async', members: number[], ...later: (HistoryEvent | number)[]) =>
  namesIn(
    ...[formed(replication), head(1, 0, members), served(1, 'p'), sent(0), stored(0, 's/0', 1)],
    ...later,
    log(),
  )
const unclean = head(2, 1, [1], 'unclean')

test('history: replication sync: a message that is gone is lost, whoever was killed', (t) => {
  t.deepEqual(oneLost('sync', [0, 1], head(2, 1, [1]), cut(0, 1)), ['lost'])
})

test('history: replication sync: a message is lost when only one of two members lost power', (t) => {
  t.deepEqual(oneLost('sync', [0, 1], powerLost(0), unclean), ['lost'])
})

test('history: replication sync: a message may be gone when ALL members lost power and a person chose', (t) => {
  t.deepEqual(oneLost('sync', [0, 1], powerLost(0), powerLost(1), unclean), [])
})

test('history: replication sync: members that lost power long after a message had it on their disks', (t) => {
  t.deepEqual(oneLost('sync', [0, 1], powerLost(0), 5_000, powerLost(1), unclean), ['lost'])
})

test('history: replication sync: a master that is alone in its set has no excuse', (t) => {
  t.deepEqual(oneLost('sync', [0], powerLost(0), unclean), ['lost'])
})

test('history: replication sync: nobody may choose a shorter log without an order', (t) => {
  t.deepEqual(oneLost('sync', [0, 1], powerLost(0), powerLost(1), head(2, 1, [1])), ['lost'])
})

test('history: replication async: a message that was cut with the master’s tail may be gone', (t) => {
  t.deepEqual(oneLost('async', [0, 1], head(2, 1, [1]), cut(0, 1)), [])
})

test('history: replication async: a loss that nobody told of is found', (t) => {
  t.deepEqual(oneLost('async', [0, 1], head(2, 1, [1]), cut(1, 1)), ['lost too much'])
})

test('history: replication async: a loss beyond the bound is found', (t) => {
  const names = namesIn(
    ...[formed('async', 100), head(1, 0, [0, 1]), sent(0, 60), sent(1, 60)],
    ...[stored(0, 's/0', 1), stored(1, 's/1', 1), head(2, 1, [1]), cut(0, 2), log()],
  )
  t.deepEqual(names, ['lost too much'])
})

test('history: replication async: a deposed master acknowledges nothing AFTER the next one serves', (t) => {
  const late = [formed('async'), head(1, 0, [0, 1]), sent(0), head(2, 1, [1]), served(2, 'q')]
  t.deepEqual(namesIn(...late, stored(0, 's/0', 1), cut(0, 1), log()), ['lost'])
})

test('history: replication async: a handover loses nothing', (t) => {
  t.deepEqual(oneLost('async', [0, 1], head(2, 1, [0, 1], 'handover'), cut(0, 1)), ['lost'])
})

test('history: replication async: the offset of a message that is gone is used again', (t) => {
  const names = namesIn(
    ...[
      formed('async'),
      head(1, 0, [0, 1]),
      sent(0),
      sent(1),
      stored(0, 's/0', 1),
      head(2, 1, [1]),
      cut(0, 1),
    ],
    ...[delivered(0, 's/1', 2), handled, log(logged(0, 's/1', 2))],
  )
  t.deepEqual(names, [])
})

test('history: replication async: what a reader was shown NEVER changes', (t) => {
  const names = namesIn(
    ...[formed('async'), head(1, 0, [0, 1]), sent(0), sent(1), delivered(0, 's/0', 1), handled],
    ...[head(2, 1, [1]), cut(0, 1), log(logged(0, 's/1', 2))],
  )
  t.true(names.includes('two messages at one offset'))
})

test('history: an epoch that is given to two replicas is found', (t) => {
  t.deepEqual(namesIn(formed('sync'), head(1, 0, [0, 1]), head(1, 1, [0, 1])), ['two masters'])
})

test('history: two processes that serve one epoch are found', (t) => {
  t.deepEqual(namesIn(formed('sync'), served(1, 'p'), served(1, 'q')), ['two masters'])
})

test('history: an epoch that goes back is found', (t) => {
  t.deepEqual(namesIn(formed('sync'), head(2, 0, [0]), head(1, 1, [0])), ['epoch went back'])
})
