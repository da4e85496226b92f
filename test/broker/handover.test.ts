/** A handover as who asked for it sees it, and as a stopping master does: both wait for the role. Time is virtual. */
import test from 'ava'
import { Handover } from '../../actors/broker/handover.ts'
import type { BrokerRoleSnapshot } from '../../actors/broker/signs.ts'
import { codes } from '../../transport/codes.ts'
import { virtualClock } from '../support/virtual-clock.ts'

/** Master of epoch 4, whose heir is replica 1. */
function bench() {
  const clock = virtualClock()
  const told: string[] = []
  const answers: number[] = []
  const handover = new Handover(clock, 'broker-a', {
    tell: ({ type }) => void told.push(type),
    mastership: () => ({ incarnationOf: () => 7, heir: 1 }) as never,
  })
  return {
    ...{ clock, told, answers, handover },
    ask: () => handover.request(1, ({ code }) => answers.push(code)),
    /** The role is in this state, and has heard of that master. */
    is: (state: 'handingOver' | 'demoting', epoch: number, masterId: number) =>
      handover.heed({
        context: { epoch: 4, head: { epoch, masterId } },
        matches: (of: unknown) => state === 'handingOver' && (of === 'master' || typeof of === 'object'),
      } as unknown as BrokerRoleSnapshot),
  }
}

test('handover: who asked is answered AT MOST ONCE, AFTER another one is master of a later epoch', (t) => {
  const it = bench()
  it.ask()
  t.deepEqual(it.told, ['handover.requested'])
  it.is('handingOver', 4, 0)
  t.deepEqual(it.answers, [])
  it.is('demoting', 5, 1)
  it.is('demoting', 5, 1)
  it.handover.refuse('too late')
  t.deepEqual(it.answers, [codes.SUCCESS])
})

for (const [what, epoch, masterId] of [
  ['nobody has a later epoch', 4, 1],
  ['a third one is master', 5, 2],
] as const)
  test(`handover: it has NOT happened when this one is deposed and ${what}`, (t) => {
    const it = bench()
    it.ask()
    it.is('demoting', epoch, masterId)
    t.deepEqual(it.answers, [codes.NOT_MASTER])
  })

test('handover: a stopping master waits for its heir, and NEVER longer than its time', (t) => {
  const it = bench()
  let goes = 0
  it.handover.beforeStop(() => goes++)
  it.is('handingOver', 4, 0)
  it.clock.advance(1_999)
  t.is(goes, 0)
  it.clock.advance(1)
  t.is(goes, 1)
  it.is('demoting', 5, 1)
  t.is(goes, 1)
})
