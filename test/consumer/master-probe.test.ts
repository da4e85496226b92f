/** MasterProbe: a master that died while it held a pull is missed within two seconds, and one that lives is left alone. */
import test from 'ava'
import { MasterProbe } from '../../actors/consumer/master-probe.ts'
import { QueueReader } from '../../actors/consumer/queue-reader.ts'
import type { Process } from '../../actors/node/process.ts'
import { accept, encode } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { pullAnswer } from '../../transport/exchange.ts'
import { createHub } from '../../transport/memory.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { notedLog } from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'
import { stored, TOPIC } from './support.ts'

/** Two queues of one broker, whose master holds pulls, or answers each after `answersAfterMs`. */
function stage(answersAfterMs: number | null = null) {
  const clock = virtualClock()
  const log = notedLog()
  const random = seededRandom(1)
  const subjects = subjectsOf('test')
  const hub = createHub({ clock, random, log })
  const broker = hub.connect('broker')
  const process = {
    id: 'p',
    world: { clock, random, log, transport: hub.connect('client') },
    subjects,
  } as unknown as Process
  const counts = { pulls: 0, probes: 0 }
  /** The queues that replicas were asked for. */
  const orphans = new Set<number>()
  const lost: number[] = []
  let isHanging = false
  const to = subjects.broker('a', 3)
  const answer = (reply: string, offset: number) => {
    const head = { code: codes.SUCCESS, epoch: 3, nextOffset: 0, minOffset: 0, maxOffset: 0 }
    broker.publish(reply, pullAnswer(head, [stored(offset, 1)]))
  }
  const master = [
    broker.subscribe(to.pull, (request, reply) => {
      counts.pulls++
      const { offset } = JSON.parse(request.toString()) as { offset: number }
      if (answersAfterMs !== null) clock.setTimeout(() => answer(reply, offset), answersAfterMs)
    }),
    broker.subscribe(to.searchOffset, (_, reply) => {
      counts.probes++
      if (!isHanging) broker.publish(reply, encode(accept({ offset: 0 })))
    }),
  ]
  const slave = hub.connect('slave')
  slave.subscribe(subjects.replicas('a').pull, (request) => {
    orphans.add((JSON.parse(request.toString()) as { queueId: number }).queueId)
  })
  const readers = [0, 1].map((queueId) => {
    const reader: QueueReader = new QueueReader(
      process,
      { topic: TOPIC, brokerName: 'a', queueId },
      {
        epoch: () => 3,
        arrived: () => {
          while (reader.next() !== null);
        },
        unreachable: () => {},
        fenced: () => {},
        mayPull: () => true,
        rewound: () => {},
      },
    )
    reader.start(0)
    return reader
  })
  const probe = new MasterProbe(process, {
    readers: () => readers,
    epochOf: () => 3,
    lost: (_, epoch) => void lost.push(epoch),
  })
  return {
    ...{ clock, counts, orphans, lost, probe, readers },
    hang: () => {
      isHanging = true
    },
    die: () => {
      for (const subscription of master) subscription.unsubscribe()
    },
  }
}

test('probe: a master that died while it held pulls is missed within two seconds, by all that wait for it', (t) => {
  const { clock, orphans, lost, die, probe } = stage()
  clock.advance(5_500)
  t.is(orphans.size, 0)
  die()
  clock.advance(2_000)
  t.deepEqual(lost, [3])
  t.deepEqual([...orphans].sort(), [0, 1])
  probe.stop()
})

test('probe: a master that hangs is missed too', (t) => {
  const { clock, orphans, lost, hang, probe } = stage()
  clock.advance(5_500)
  hang()
  clock.advance(3_000)
  t.is(lost[0], 3)
  t.deepEqual([...orphans].sort(), [0, 1])
  probe.stop()
})

test('probe: a master that holds pulls is asked once a second, whatever the number of queues', (t) => {
  const { clock, counts, lost, probe } = stage()
  clock.advance(10_500)
  t.is(counts.probes, 10)
  t.deepEqual(lost, [])
  probe.stop()
})

test('probe: a master that answers pulls is NEVER asked', (t) => {
  const { clock, counts, probe } = stage(300)
  clock.advance(10_000)
  t.true(counts.pulls > 50)
  t.is(counts.probes, 0)
  probe.stop()
})

test('probe: one that is stopped leaves no timer', (t) => {
  const { clock, counts, probe, readers } = stage()
  probe.stop()
  for (const reader of readers) reader.stop()
  clock.advance(60_000)
  t.is(counts.probes, 0)
  t.is(clock.timers, 0)
})
