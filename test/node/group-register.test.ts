/** The state of a broker group as it is read from the register: what comes late does not count. */
import test from 'ava'
import { GroupRegister } from '../../actors/node/group-register.ts'
import { boot, type Head } from '../../machines/group-state.ts'
import { fail, type Outcome, succeed } from '../../transport/failures.ts'
import type { Held, Register } from '../../transport/register.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const warned: string[] = []
const silent = { info() {}, warn: (text: string) => void warned.push(text), error() {} }

/** Reads are answered, and watches told, when the test says so. */
function register() {
  const reads: ((held: Held) => void)[] = []
  let push: (held: Held) => void = () => {}
  let putBack: (held: Held) => void = () => {}
  const port: Register = {
    read: (_, done) => void reads.push((held) => done(succeed(held))),
    swap() {},
    watch(_, hear, wentBack = () => {}) {
      push = hear
      putBack = wentBack
      return { unsubscribe() {} }
    },
    close() {},
  }
  const group = new GroupRegister(port, 'broker-a', { clock: virtualClock(), log: silent })
  return { group, reads, push: (held: Held) => push(held), putBack: (held: Held) => putBack(held) }
}

const vote = {
  incarnation: 1,
  lineage: 0,
  promisedEpoch: 0,
  lastEpoch: 0,
  endPosition: 0,
  hearsMaster: false,
}
const votes = [0, 1].map((brokerId) => ({ ...vote, brokerId }))
const first = boot({ replicas: 2, minInSync: 1, replication: 'sync' }, votes, 'first')!
const held = (revision: number): Held => ({
  revision,
  value: { state: { ...first, epoch: revision, writeId: `${revision}` }, masterships: [] } as never,
})

test('group register: an answer that is overtaken by something newer tells what is newer', (t) => {
  const { group, reads, push } = register()
  const read: Outcome<Head | null>[] = []
  group.watch(
    () => {},
    () => {},
  )
  group.read((outcome) => read.push(outcome))
  push(held(2))
  reads[0]!(held(1))
  t.is(read[0]!.ok && read[0]!.value!.revision, 2)
})

test('group register: an older value that is read AFTER a newer one was known is told as it is', (t) => {
  const { group, reads, push } = register()
  const read: Outcome<Head | null>[] = []
  group.watch(
    () => {},
    () => {},
  )
  push(held(2))
  group.read((outcome) => read.push(outcome))
  reads[0]!(held(1))
  t.is(read[0]!.ok && read[0]!.value!.revision, 1)
})

test('group register: what was put back is told, and what is known from then on is that', (t) => {
  const { group, reads, push, putBack } = register()
  const told: number[] = []
  group.watch(
    ({ revision }) => told.push(revision),
    (head) => told.push(-head!.revision),
  )
  push(held(9))
  putBack(held(3))
  push(held(4))
  t.deepEqual(told, [9, -3, 4])
  const read: Outcome<Head | null>[] = []
  group.read((outcome) => read.push(outcome))
  push(held(5))
  reads[0]!(held(4))
  t.is(read[0]!.ok && read[0]!.value!.revision, 5)
})

test('group register: one that cannot be read is told of, and not at every try', (t) => {
  const port: Register = {
    read: (_, done) => done(fail('timedOut', 'nobody answered')),
    swap() {},
    watch: () => ({ unsubscribe() {} }),
    close() {},
  }
  const group = new GroupRegister(port, 'broker-b', { clock: virtualClock(), log: silent })
  let failed = 0
  for (let i = 0; i < 3; i++)
    group.read(({ ok }) => {
      if (!ok) failed++
    })
  t.is(failed, 3)
  t.deepEqual(
    warned.filter((text) => text.startsWith('broker-b')),
    ['broker-b: the register could not be read'],
  )
})
