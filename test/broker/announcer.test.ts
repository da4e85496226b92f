import test from 'ava'
import { Announcer } from '../../actors/broker/announcer.ts'
import { startNameServer } from '../../actors/name-server/name-server.ts'
import { createDirectory } from '../../actors/node/inspection.ts'
import type { Process } from '../../actors/node/process.ts'
import { SimulatedDisk } from '../../actors/node/simulated-disk.ts'
import { createHub } from '../../transport/memory.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { virtualClock } from '../support/virtual-clock.ts'

/** A name server, and stores that say one after the other that they are broker-a/0. */
function registry() {
  const clock = virtualClock()
  const random = seededRandom(1)
  const told: string[] = []
  const tell = (message: string) => void told.push(message)
  const log = { info() {}, warn: tell, error: tell }
  const hub = createHub({ clock, random, log })
  const subjects = subjectsOf('test')
  const processOf = (id: string): Process => {
    const transport = hub.connect()
    const world = { clock, random, log, transport, disk: new SimulatedDisk({ clock, random }).mount() }
    return { id, world, subjects, directory: createDirectory(id, transport, subjects, clock) }
  }
  startNameServer(processOf('n'), 'n', { failed() {} }, 0)
  clock.advance(100)
  return {
    clock,
    told: (words: RegExp) => told.filter((line) => words.test(line)),
    announce(storeId: string, epoch = 1) {
      const run = { brokerName: 'broker-a', brokerId: 0, storeId, incarnation: 1 }
      const replica = { brokerName: 'broker-a', brokerId: 0, address: `broker/broker-a/0 of ${storeId}` }
      const announcer = new Announcer(processOf(storeId), replica, () => ({
        ...{ run, dataVersion: 1, topics: {}, autoCreateTopic: true },
      }))
      announcer.announce(epoch, 'master')
      clock.advance(10)
      return announcer
    },
  }
}

test('announcer: a registration that is refused beat after beat is told once, on both sides', (t) => {
  const { clock, announce, told } = registry()
  announce('store-1')
  announce('store-2')
  clock.advance(5_000)
  t.is(told(/^broker\/broker-a\/0 of store-2: .* another store/).length, 1)
  t.is(told(/^name-server\/n: .* another store/).length, 1)
  t.is(told(/of store-1/).length, 0)
})

test('announcer: in another mastership, and of another store, it is told anew', (t) => {
  const { clock, announce, told } = registry()
  announce('store-1')
  const second = announce('store-2')
  second.announce(2, 'master')
  clock.advance(5_000)
  t.is(told(/^broker\/broker-a\/0 of store-2: .* another store/).length, 2)
  second.close()
  announce('store-3')
  clock.advance(5_000)
  t.is(told(/^name-server\/n: .* another store/).length, 2)
})
