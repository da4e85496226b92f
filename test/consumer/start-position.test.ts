/** Where reading a queue begins, asked of a broker whose master goes: who is asked, and when nobody is any more. */
import test from 'ava'
import {
  type Found,
  findConfirmed,
  findOffset,
  type StartPosition,
} from '../../actors/consumer/start-position.ts'
import type { Process } from '../../actors/node/process.ts'
import { type Answer, accept, refuse, serve } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { createHub } from '../../transport/memory.ts'
import { type OffsetSearch, offsetSearch } from '../../transport/messages.ts'
import { type Subject, subjectsOf } from '../../transport/subjects.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { notedLog } from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const EPOCH = 3
const ref = { topic: 'orders', brokerName: 'a', queueId: 2 }
const taken = (offset: number) => accept({ offset })
const busy = refuse(codes.SYSTEM_BUSY, 'ask another one')

/** A client, and whoever answers it. */
function stage() {
  const clock = virtualClock()
  const log = notedLog()
  const random = seededRandom(1)
  const subjects = subjectsOf('test')
  const hub = createHub({ clock, random, log })
  const world = { clock, random, log, transport: hub.connect('client') }
  const process = { id: 'p', world, subjects } as unknown as Process
  const server = hub.connect('server')
  const asked: string[] = []
  const lost: number[] = []
  const known = { epoch: EPOCH, isOver: false }
  const answers = (
    who: string,
    subject: Subject<OffsetSearch, { offset: number }>,
    answer: () => Answer<{ offset: number }> | null,
  ) =>
    serve(server, subject, offsetSearch, (request, reply) => {
      asked.push(`${who} ${request.queueId} ${request.to}`)
      const said = answer()
      if (said !== null) reply(said)
    })
  return {
    ...{ clock, asked, lost, known, process },
    master: (answer: () => Answer<{ offset: number }> | null) =>
      answers('master', subjects.broker('a', EPOCH).searchOffset, answer),
    slave: (answer: () => Answer<{ offset: number }> | null) =>
      answers('slave', subjects.replicas('a').searchOffset, answer),
    find(from: StartPosition) {
      const found: (Found | null)[] = []
      const search = {
        epoch: () => known.epoch,
        unreachable: (epoch: number) => void lost.push(epoch),
        isOver: () => known.isOver,
      }
      findConfirmed(process, ref, search, from, (one) => found.push(one))
      return found
    },
  }
}

test('start position: a master that answers is the only one that is asked', (t) => {
  const { clock, asked, lost, master, slave, find } = stage()
  master(() => taken(7))
  slave(() => taken(5))
  const found = find({ time: 1_234 })
  clock.advance(100)
  t.deepEqual(found, [{ offset: 7, isShort: false }])
  t.deepEqual([asked, lost], [['master 2 1234'], []])
})

test('start position: without a master a slave answers, and what it says is called short', (t) => {
  const { clock, asked, lost, slave, find } = stage()
  slave(() => taken(5))
  const found = find('last')
  clock.advance(100)
  t.deepEqual(found, [{ offset: 5, isShort: true }])
  t.deepEqual([asked, lost], [['slave 2 last'], [EPOCH]])
})

test('start position: a master that is silent is given up, and a slave asked', (t) => {
  const { clock, asked, master, slave, find } = stage()
  master(() => null)
  slave(() => taken(5))
  const found = find('first')
  clock.advance(6_000)
  t.deepEqual(found, [{ offset: 5, isShort: true }])
  t.deepEqual(asked, ['master 2 first', 'slave 2 first'])
})

test('start position: it is asked again for a while, of whoever answers by then', (t) => {
  const { clock, asked, master, slave, find } = stage()
  const gone = slave(() => busy)
  const found = find('first')
  clock.advance(500)
  t.true(asked.length >= 2)
  gone.unsubscribe()
  clock.advance(500)
  t.deepEqual(found, [])
  master(() => taken(9))
  clock.advance(500)
  t.deepEqual(found, [{ offset: 9, isShort: false }])
})

test('start position: what a master refuses is asked of nobody else', (t) => {
  const { clock, asked, master, slave, find } = stage()
  master(() => refuse(codes.TOPIC_NOT_EXIST, 'there is none'))
  slave(() => taken(5))
  const found = find('first')
  clock.advance(100)
  t.deepEqual(found, [null])
  t.is(asked.length, 1)
})

test('start position: it is given up after a while, and as soon as nobody waits for it', (t) => {
  const { clock, known, find } = stage()
  const [patient, closed] = [find('first'), find('first')]
  clock.advance(4_000)
  t.deepEqual([patient, closed], [[], []])
  clock.advance(2_000)
  t.deepEqual([patient, closed], [[null], [null]])
  const last = find('first')
  known.isOver = true
  clock.advance(300)
  t.deepEqual(last, [null])
})

test('start position: where no master is known none is asked', (t) => {
  const { clock, known, asked, lost, slave, find } = stage()
  known.epoch = 0
  slave(() => taken(5))
  const found = find('first')
  clock.advance(100)
  t.deepEqual(found, [{ offset: 5, isShort: true }])
  t.deepEqual([asked, lost], [['slave 2 first'], []])
})

test('start position: a group is NEVER told by a slave where it begins', (t) => {
  const { clock, asked, slave, process } = stage()
  slave(() => taken(5))
  const found: (number | null)[] = []
  findOffset(process, ref, EPOCH, 'last', (offset) => found.push(offset))
  clock.advance(10_000)
  t.deepEqual([found, asked], [[null], []])
})
