/** What the host of a group's coordinator does besides running it: members are those that the test makes listen. */
import test from 'ava'
import { Coordinators } from '../../actors/broker/coordinators.ts'
import { createDirectory } from '../../actors/node/inspection.ts'
import type { Process } from '../../actors/node/process.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import { accept, serve } from '../../transport/codec.ts'
import { createHub } from '../../transport/memory.ts'
import { assignmentPush } from '../../transport/messages.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const group = 'billing'

function coordinated() {
  const clock = virtualClock()
  const random = seededRandom(1)
  const log = { info() {}, warn() {}, error() {} }
  const hub = createHub({ clock, random, log })
  const subjects = subjectsOf('test')
  const transport = hub.connect()
  const world = { clock, random, log, transport, disk: new SimulatedDisk({ clock, random }).mount() }
  const directory = createDirectory('b', transport, subjects, clock)
  const process: Process = { id: 'b', world, subjects, directory }
  const coordinators = new Coordinators(process, 'b')
  return {
    clock,
    /** The members of which it counts as known that they hear nothing. */
    silent: () => coordinators.describe(group).members.flatMap((one) => (one.isSilent ? one.clientId : [])),
    /** A member in a process of its own, which says how many divisions it was told, and ends when it is told to. */
    join(clientId: string, isBusy = false) {
      let told = 0
      const own = hub.connect()
      serve(own, subjects.assignmentChanged(group, clientId), assignmentPush, (_, answer) => {
        told++
        if (!isBusy) answer(accept({}))
      })
      const member = {
        ...{ group, clientId, instance: `${clientId}-1`, subscriptions: {}, room: '' },
        ...{ allocation: 'averagely' as const, queues: [], consumerRooms: [] },
        ...{ isStatic: false, sessionMs: 10_000 },
      }
      coordinators.join({ ...member, generation: 0, held: [] }, () => {})
      clock.advance(200)
      return { told: () => told, end: () => own.sever() }
    },
    close: () => coordinators.close(),
  }
}

test('coordinators: a member whose process has ended is silent as soon as a share is told to it', (t) => {
  const { clock, join, silent, close } = coordinated()
  const first = join('a')
  join('b')
  t.is(first.told(), 2)
  first.end()
  clock.advance(1_000)
  t.deepEqual(silent(), [])
  join('c')
  t.deepEqual(silent(), ['a'])
  close()
})

test('coordinators: a member that listens and does not answer is given its time', (t) => {
  const { clock, join, silent, close } = coordinated()
  const busy = join('a', true)
  join('b')
  clock.advance(3_000)
  t.is(busy.told(), 2)
  t.deepEqual(silent(), [])
  clock.advance(3_000)
  t.deepEqual(silent(), ['a', 'b'])
  close()
})
