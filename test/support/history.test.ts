/** The checker of histories, held against histories that each have one thing wrong. */
import test from 'ava'
import { type AnomalyName, check, type Happened, type HistoryEvent, type LoggedMessage } from './history.ts'

const QUEUE = 'orders/broker-a/0'
const OTHER = 'orders/broker-b/0'
const read = { group: 'g', queue: QUEUE }

const log = (messages: LoggedMessage[], queue = QUEUE): HistoryEvent => ({
  type: 'log.read',
  queue,
  minOffset: 0,
  maxOffset: messages.length,
  messages,
})
const logged = (offset: number, message = `s/${offset}`, epoch = 1): LoggedMessage => ({
  ...{ offset, epoch, message, messageId: `id-${message}`, frame: message },
})
const moved: LoggedMessage = { ...logged(0), frame: 'another' }
const sent = (sequence: number, messageGroup: string | null = null): HistoryEvent => ({
  ...{ type: 'send.invoked', message: `s/${sequence}`, sender: 's', sequence, messageGroup },
})
const stored = (offset: number, message = `s/${offset}`): HistoryEvent => ({
  ...{ type: 'send.stored', message, queue: QUEUE, offset, epoch: 1, messageId: `id-${message}` },
})
const delivered = (consumer: string, offset: number, message = `s/${offset}`, epoch = 1): HistoryEvent => ({
  ...{
    type: 'message.delivered',
    ...read,
    consumer,
    ...logged(offset, message, epoch),
    attempt: 1,
    isOrdered: true,
  },
})
const handled = (consumer: string, offset: number): HistoryEvent => ({
  ...{ type: 'message.handled', ...read, consumer, offset },
})
const consumed = (consumer: string, offset: number) => [
  delivered(consumer, offset),
  handled(consumer, offset),
]
/** To another group. */
const elsewhere = (offset: number, message: string, epoch: number): HistoryEvent => ({
  ...delivered('x', offset, message, epoch),
  ...{ group: 'another' },
})
const granted = (consumer: string, assignEpoch: number, committed: number | null = null): HistoryEvent => ({
  ...{ type: 'queue.granted', ...read, consumer, assignEpoch, run: 'first', committed, maxOffset: 3 },
})
const served = (consumer: string, assignEpoch: number, run = 'first'): HistoryEvent => ({
  ...{ type: 'queue.served', ...read, consumer, assignEpoch, run },
})
const settled = (
  row: Partial<{ owner: string | null; committed: number }>,
  owned = { a: [QUEUE] },
): HistoryEvent => ({
  type: 'group.settled',
  group: 'g',
  queues: [{ queue: QUEUE, owner: 'a', committed: 3, minOffset: 0, maxOffset: 3, ...row }],
  owned,
})

/** Each event a second after the one before. */
const history = (...events: (HistoryEvent | HistoryEvent[])[]): Happened[] =>
  events.flat().map((event, i) => ({ ...event, at: i * 1_000 }))

const three = [sent(0), sent(1), sent(2)]
const good = history(
  ...[three, stored(0), stored(1), stored(2), granted('a', 1), served('a', 1)],
  ...[consumed('a', 0), consumed('a', 1), consumed('a', 2)],
  { type: 'offset.sent', ...read, consumer: 'a', offset: 3 },
  { type: 'offset.stored', ...read, consumer: 'a', offset: 3 },
  settled({}),
  log([logged(0), logged(1), logged(2)]),
)

const namesIn = (...events: (HistoryEvent | HistoryEvent[])[]): AnomalyName[] => [
  ...new Set(check(history(...events)).map(({ name }) => name)),
]

test('history: one in which all went well has no anomaly', (t) => {
  t.deepEqual(check(good), [])
})

/** Some things cannot go wrong alone: the first name is the one that is looked for. */
/** A broker stored it when it was due, as the message of that number. */
const wasDelayed = (offset: number, number: string) => ({
  ...logged(offset, 's/0'),
  frame: `${2 ** 53}-${number}`,
})

const planted: [
  what: string,
  names: AnomalyName | [AnomalyName, AnomalyName],
  events: (HistoryEvent | HistoryEvent[])[],
][] = [
  [
    'an acknowledged message that the log does not have',
    'lost',
    [sent(0), sent(1), stored(0), stored(1), log([logged(0)])],
  ],
  [
    'an acknowledged message under another offset',
    ['lost', 'two messages at one offset'],
    [sent(0), sent(1), stored(0), log([logged(0, 's/1'), logged(1, 's/0')])],
  ],
  ['a message in the log that nobody sent', 'never sent', [log([logged(0)])]],
  ['a message that nobody sent and somebody got', 'never sent', [consumed('a', 0)]],
  [
    'two messages at one offset',
    'two messages at one offset',
    [sent(0), sent(1), delivered('a', 0), elsewhere(0, 's/1', 1)],
  ],
  [
    'two messages at one offset in two epochs, and no power was lost',
    'two messages at one offset',
    [sent(0), sent(1), delivered('a', 0), elsewhere(0, 's/1', 2)],
  ],
  ['a message twice in one queue', 'duplicate', [sent(0), log([logged(0, 's/0'), logged(1, 's/0')])]],
  ['a message of a group on two brokers', 'duplicate', [sent(0, 'm'), log([logged(0)]), log([moved], OTHER)]],
  [
    'a message on two brokers under two ids',
    'duplicate',
    [sent(0), log([logged(0)]), log([{ ...moved, messageId: 'another' }], OTHER)],
  ],
  ['a repeated frame on two brokers', 'duplicate', [sent(0), log([logged(0)]), log([logged(0)], OTHER)]],
  [
    'a message that was delayed and is stored twice by one broker',
    'duplicate',
    [sent(0), log([wasDelayed(0, '0'), wasDelayed(1, '1')])],
  ],
  [
    'two messages of one group in the wrong order',
    'reordered',
    [sent(0, 'm'), sent(1, 'm'), log([logged(0, 's/1'), logged(1, 's/0')])],
  ],
  [
    'a hole in the log',
    'gap in the log',
    [three, { ...log([logged(0), logged(2)]), maxOffset: 3 } as HistoryEvent],
  ],
  [
    'a log that ends too early',
    'gap in the log',
    [sent(0), { ...log([logged(0)]), maxOffset: 2 } as HistoryEvent],
  ],
  ['an offset that its consumer passes over', 'skipped', [three, consumed('a', 0), consumed('a', 2)]],
  ['a consumer that begins beyond what was handled', 'skipped', [three, consumed('a', 0), consumed('b', 2)]],
  [
    'a consumer that begins beyond what another one only was given',
    'skipped',
    [three, delivered('a', 0), { type: 'consumer.gone', group: 'g', consumer: 'a' }, consumed('b', 1)],
  ],
  [
    'a message that the group never handled',
    'never handled',
    [sent(0), sent(1), consumed('a', 0), log([logged(0), logged(1)])],
  ],
  [
    'a message that is handled twice in good times',
    'delivered again',
    [three, consumed('a', 0), consumed('b', 0)],
  ],
  [
    'a message that is handled twice long after a fault',
    'delivered again',
    [
      { type: 'fault.began', fault: 'f' },
      { type: 'fault.ended', fault: 'f' },
      Array.from({ length: 100 }, (_, i) => sent(i)),
      ...[consumed('a', 0), consumed('b', 0)],
    ],
  ],
  [
    'two consumers that read one queue at one time',
    ['two readers', 'delivered again'],
    [three, delivered('a', 0), delivered('b', 0), handled('a', 0), handled('b', 0)],
  ],
  [
    'a consumer in order that is given two messages at once',
    'not in order',
    [three, delivered('a', 0), delivered('a', 1), handled('a', 0), handled('a', 1)],
  ],
  ['a broker that serves whom it granted nothing', 'two owners', [served('a', 1)]],
  ['a broker that serves the owner before', 'two owners', [granted('a', 1), granted('b', 2), served('a', 1)]],
  ['a broker that serves an earlier grant', 'two owners', [granted('a', 1), granted('a', 2), served('a', 1)]],
  [
    'a later master that serves two of those before',
    'two owners',
    [granted('a', 1), granted('b', 2), served('b', 2, 'second'), served('a', 1, 'second')],
  ],
  [
    'a later master that serves whom nobody granted anything',
    'two owners',
    [granted('a', 1), served('a', 2, 'second')],
  ],
  [
    'a broker that serves who has released',
    'two owners',
    [
      granted('a', 1),
      { type: 'queue.released', ...read, consumer: 'a', assignEpoch: 1, run: 'first' },
      served('a', 1),
    ],
  ],
  [
    'a commit of what is not handled',
    'committed beyond what is handled',
    [three, consumed('a', 0), delivered('a', 1), { type: 'offset.sent', ...read, consumer: 'a', offset: 2 }],
  ],
  [
    'a committed offset that went backwards',
    'committed offset lost',
    [three, { type: 'offset.stored', ...read, consumer: 'a', offset: 3 }, granted('b', 2, 2)],
  ],
  [
    'a committed offset that is gone',
    'committed offset lost',
    [three, { type: 'offset.stored', ...read, consumer: 'a', offset: 0 }, granted('b', 2)],
  ],
  ['a committed offset beyond the end', 'committed beyond the end', [granted('a', 1, 4)]],
  ['a queue that nobody owns', 'no owner', [settled({ owner: null }, { a: [] })]],
  ['a queue whose owner does not know it', 'no owner', [settled({}, { a: [] })]],
  [
    'a queue that two think they own',
    'no owner',
    [settled({}, { a: [QUEUE], b: [QUEUE] } as { a: string[] })],
  ],
  ['a queue that is not read to its end', 'not drained', [settled({ committed: 2 })]],
]

for (const [what, names, events] of planted) {
  test(`history: ${what} is found as '${[names].flat()[0]}'`, (t) => {
    t.deepEqual(namesIn(...events).sort(), [names].flat().sort())
  })
}

const fault: HistoryEvent[] = [
  { type: 'fault.began', fault: 'f' },
  { type: 'fault.ended', fault: 'f' },
]
const cut: HistoryEvent = { type: 'tail.lost', broker: 'broker-a', replica: 0 }

const excused: [what: string, events: (HistoryEvent | HistoryEvent[])[]][] = [
  [
    'a message that was delayed on two brokers, as its sender got no answer from the first',
    [sent(0), log([wasDelayed(0, '7')]), log([wasDelayed(0, '7')], OTHER)],
  ],
  ['an owner that goes on under its grant at a later master', [granted('a', 1), served('a', 1, 'second')]],
  [
    'a message acknowledged shortly before the power cut of a broker that does not sync',
    [sent(0), stored(0), cut, log([])],
  ],
  ['a message whose receipt arrives only after such a cut', [sent(0), cut, stored(0), log([])]],
  [
    'an offset used anew after such a cut',
    [sent(0), sent(1), consumed('a', 0), cut, log([logged(0, 's/1', 2)])],
  ],
  [
    'a message that was moved to another broker under its id',
    [sent(0), log([logged(0)]), log([moved], OTHER)],
  ],
  ['a message delivered again after a fault', [three, consumed('a', 0), fault, consumed('b', 0)]],
  [
    'a message delivered again because one before it had failed',
    [
      three,
      delivered('a', 0),
      { type: 'handler.failed', ...read, consumer: 'a', offset: 0 },
      ...[consumed('a', 1), consumed('b', 0), consumed('b', 1)],
    ],
  ],
  [
    'a message that left a full disk before its time',
    [
      ...[sent(0), sent(1), stored(0), stored(1)],
      { type: 'disk.filled', broker: 'broker-a' },
      { ...log([logged(1)]), minOffset: 1, maxOffset: 2 } as HistoryEvent,
    ],
  ],
]

for (const [what, events] of excused) {
  test(`history: ${what} is no anomaly`, (t) => {
    t.deepEqual(namesIn(...events), [])
  })
}

test('history: a message acknowledged long before a power cut must have been synced', (t) => {
  const long = Array.from({ length: 10 }, (_, i) => sent(i))
  t.deepEqual(namesIn(sent(0), stored(0), long, cut, log([])), ['lost'])
})
