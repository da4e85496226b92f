/** What operators are told of a group's members: by the coordinator that knows them, and put into words. */
import test from 'ava'
import { describeGroup } from '../../actors/admin/groups.ts'
import { Coordinators } from '../../actors/broker/coordinators.ts'
import type { Coordinated } from '../../actors/broker/groups.ts'
import { createDirectory } from '../../actors/node/inspection.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import { accept, serve } from '../../transport/codec.ts'
import { createHub } from '../../transport/memory.ts'
import { assignmentPush } from '../../transport/messages.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const GROUP = 'billing'
const queue = {
  ...{ topic: 'orders', queueId: 0, owner: 'c1', claimant: null, isPopped: false, assignEpoch: 1 },
  ...{ committed: 0, minOffset: 0, maxOffset: 0, behindSince: null },
}

/** A coordinator to which members come; nobody tells it of any queue. */
function stage() {
  const clock = virtualClock()
  const random = seededRandom(1)
  const log = { info() {}, warn() {}, error() {} }
  const transport = createHub({ clock, random, log }).connect('here')
  const subjects = subjectsOf('test')
  const world = { clock, random, log, transport, disk: new SimulatedDisk({ clock, random }).mount() }
  const directory = createDirectory('p1', transport, subjects, clock)
  const coordinators = new Coordinators({ id: 'p1', world, subjects, directory }, 'broker-a')
  return {
    advance: (ms: number) => clock.advance(ms),
    /** Whoever is told its share says so, as a member that lives does. */
    joins(clientId: string, generation = 0) {
      serve(transport, subjects.assignmentChanged(GROUP, clientId), assignmentPush, (_, answer) =>
        answer(accept({})),
      )
      coordinators.join(
        {
          ...{ group: GROUP, clientId, instance: clientId, subscriptions: { orders: '*' }, generation },
          ...{ allocation: 'averagely', room: '', queues: [], consumerRooms: [], held: [] },
          ...{ isStatic: false, sessionMs: 10_000 },
        },
        () => {},
      )
    },
    told: () => coordinators.describe(GROUP),
  }
}

const idleOf = (coordinated: Coordinated) =>
  describeGroup(GROUP, [
    { brokerName: 'broker-a', value: { ...coordinated, fenced: 0, retrying: 0, queues: [queue] } },
  ]).idle

test('group: BEFORE the queues are divided nobody is said to get none by the allocation', (t) => {
  const { joins, told, advance } = stage()
  joins('c1')
  joins('c2')
  t.deepEqual(
    told().members.map(({ clientId, isTold }) => [clientId, isTold]),
    [
      ['c1', false],
      ['c2', false],
    ],
  )
  t.regex(idleOf(told())[0]!.why, /about to be divided/)

  advance(1_500)
  t.true(told().members.every(({ isTold }) => isTold))
  t.is(idleOf(told())[0]!.why, 'there are more members (2) than queues (1)')
})

test('group: whoever joins while another coordinator is waited for is told of as undivided, and not as idle', (t) => {
  const { joins, told } = stage()
  joins('c1', 7_000_000)
  joins('c2', 7_000_000)
  t.deepEqual(
    told().members.map(({ isTold }) => isTold),
    [false, false],
  )
})
