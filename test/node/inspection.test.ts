import test from 'ava'
import { assign, setup } from 'xstate'
import { host } from '../../actors/node/host.ts'
import { createDirectory, stateName } from '../../actors/node/inspection.ts'
import { ask } from '../../transport/codec.ts'
import { createHub } from '../../transport/memory.ts'
import type { ActorView, Transition } from '../../transport/messages.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const lampMachine = setup({
  types: {} as { context: { switched: number }; events: { type: 'lamp.switched' } },
}).createMachine({
  id: 'deskLamp',
  context: { switched: 0 },
  initial: 'dark',
  states: {
    dark: {
      on: {
        'lamp.switched': {
          target: 'lit',
          actions: assign({ switched: ({ context }) => context.switched + 1 }),
        },
      },
    },
    lit: { on: { 'lamp.switched': 'dark' } },
  },
})

/** One actor in one process, looked at from another. */
function inspected() {
  const clock = virtualClock()
  const random = seededRandom(1)
  const log = { info() {}, warn() {}, error() {} }
  const hub = createHub({ clock, random, log })
  const subjects = subjectsOf('test')
  const published: string[] = []
  const own = hub.connect('host')
  const watched = {
    ...own,
    publish: (subject: string, ...rest: [Uint8Array]) => {
      published.push(subject)
      own.publish(subject, ...rest)
    },
  } as typeof own
  const directory = createDirectory('p1', watched, subjects, clock)
  const lamp = host({
    address: 'lamp/desk',
    machine: lampMachine,
    input: undefined,
    clock,
    directory,
    failed() {},
  })
  lamp.start()
  const transport = hub.connect('visitor')
  const answerTo = <T>(subject: string, request: object): T => {
    let value: T | undefined
    ask<object, T>(transport, subject, request, 1_000, (outcome) => {
      if (outcome.ok && outcome.value.code === 0) value = (outcome.value as { value: T }).value
    })
    clock.advance(10)
    return value as T
  }
  const transitions: Transition[] = []
  transport.subscribe(subjects.inspect.transitions('lamp/desk'), (payload) => {
    transitions.push(JSON.parse(payload.toString()))
  })
  clock.advance(10)
  const flip = () => {
    lamp.actor.send({ type: 'lamp.switched' })
    clock.advance(10)
  }
  return { clock, subjects, directory, lamp, flip, answerTo, transitions, published }
}

test('inspection: an actor answers with machine, state, context and since when', (t) => {
  const { clock, subjects, flip, answerTo } = inspected()
  clock.advance(5_000)
  const at = clock.now()
  flip()
  t.deepEqual(answerTo<ActorView>(subjects.inspect.show('lamp/desk'), {}), {
    address: 'lamp/desk',
    machine: 'desk-lamp',
    state: 'lit',
    context: { switched: 1 },
    since: at,
    host: 'p1',
  })
})

test('inspection: NOTHING is published while nobody watches', (t) => {
  const { flip, published } = inspected()
  flip()
  flip()
  t.deepEqual(published, [])
})

test('inspection: whoever watches hears each transition as it happens', (t) => {
  const { subjects, flip, answerTo, transitions } = inspected()
  answerTo(subjects.inspect.watch('lamp/desk'), { leaseMs: 10_000 })
  flip()
  flip()
  t.deepEqual(
    transitions.map(({ event, from, to }) => `${event}: ${from} -> ${to}`),
    ['lamp.switched: dark -> lit', 'lamp.switched: lit -> dark'],
  )
})

test('inspection: a lease that is not renewed runs out', (t) => {
  const { clock, subjects, flip, answerTo, transitions } = inspected()
  answerTo(subjects.inspect.watch('lamp/desk'), { leaseMs: 10_000 })
  clock.advance(20_000)
  flip()
  t.deepEqual(transitions, [])
})

test('inspection: a lease that is renewed goes on without telling anything twice', (t) => {
  const { clock, subjects, flip, answerTo, transitions } = inspected()
  answerTo(subjects.inspect.watch('lamp/desk'), { leaseMs: 10_000 })
  clock.advance(8_000)
  answerTo(subjects.inspect.watch('lamp/desk'), { leaseMs: 10_000 })
  clock.advance(8_000)
  flip()
  t.is(transitions.length, 1)
})

test('inspection: an actor that is stopped is listed no more', (t) => {
  const { directory, lamp } = inspected()
  t.is(directory.views().length, 1)
  lamp.stop()
  t.is(directory.views().length, 0)
})

test('inspection: a nested state is written as a path, parallel ones side by side', (t) => {
  t.is(stateName('serving'), 'serving')
  t.is(stateName({ master: 'serving' }), 'master.serving')
  t.is(stateName({ member: { heart: 'beating', balance: 'idle' } }), 'member.heart.beating, balance.idle')
})

test('inspection: of two actors under one address the one that stays is still listed', (t) => {
  const { clock, directory, lamp, answerTo, subjects } = inspected()
  const other = host({
    ...{ address: 'lamp/desk', machine: lampMachine, input: undefined, clock, directory },
    failed() {},
  })
  other.start()
  const listed = () => answerTo<ActorView[]>(subjects.inspect.list, {}).map(({ address }) => address)
  t.deepEqual(listed(), ['lamp/desk', 'lamp/desk'])
  lamp.stop()
  t.deepEqual(listed(), ['lamp/desk'])
  other.stop()
  t.deepEqual(directory.views(), [])
})
