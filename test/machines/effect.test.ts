import test from 'ava'
import { createActor, setup } from 'xstate'
import { bind, effect, UnboundEffect } from '../../machines/effect.ts'

const lampMachine = setup({
  actions: { turnOn: effect<{ watts: number }>('turnOn'), turnOff: effect('turnOff') },
}).createMachine({
  id: 'lamp',
  entry: { type: 'turnOn', params: { watts: 40 } },
  on: { switched: { actions: 'turnOff' } },
})

test('effect: a bound one is carried out by the host, with its params', (t) => {
  const carriedOut: string[] = []
  const machine = bind(lampMachine, {
    turnOn: ({ watts }) => carriedOut.push(`on ${watts}`),
    turnOff: () => carriedOut.push('off'),
  })
  createActor(machine).start().send({ type: 'switched' })
  t.deepEqual(carriedOut, ['on 40', 'off'])
})

test('effect: one that no host carries out is a bug, not silence', (t) => {
  const errors: unknown[] = []
  const actor = createActor(lampMachine)
  actor.subscribe({ error: (error) => errors.push(error) })
  actor.start()
  t.true(errors[0] instanceof UnboundEffect)
  t.is(actor.getSnapshot().status, 'error')
})
