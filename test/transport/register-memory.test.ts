/** The register in memory, as a simulation uses it: on a clock that the test moves, over a network that it decides. */
import test from 'ava'
import type { Held, SwapOutcome } from '../../transport/register.ts'
import { createRegisterHub, type RegisterPassage } from '../../transport/register-memory.ts'
import { virtualClock } from '../support/virtual-clock.ts'

function place(route?: (passage: RegisterPassage, carry: () => void) => void) {
  const clock = virtualClock()
  const hub = createRegisterHub(route === undefined ? { clock } : { clock, route })
  const outcomes: string[] = []
  const note = (name: string) => (outcome: SwapOutcome) => {
    const told = outcome.result === 'unknown' ? `unknown ${outcome.failure.code}` : outcome.result
    outcomes.push(`${name} ${told} at ${clock.monotonic()}`)
  }
  return { clock, hub, outcomes, note }
}

test('register in memory: a swap without an answer is unknown AFTER one second', (t) => {
  const { clock, hub, outcomes, note } = place(() => {})
  hub.connect().swap('a', 0, 1, note('a'))
  clock.advance(999)
  t.deepEqual(outcomes, [])
  clock.advance(1)
  t.deepEqual(outcomes, ['a unknown timedOut at 1000'])
  t.is(clock.timers, 0)
})

test('register in memory: an order that is late is done AFTER its outcome was told as unknown', (t) => {
  const { clock, hub, outcomes, note } = place(({ leg, operation, member }, carry) => {
    if (member === 'slow' && operation === 'swap' && leg === 'order') clock.setTimeout(carry, 1_500)
    else carry()
  })
  hub.connect('slow').swap('a', 0, 'late', note('slow'))
  clock.advance(1_499)
  const held: (Held | null)[] = []
  const read = () => hub.connect().read('a', (outcome) => held.push(outcome.ok ? outcome.value : null))
  read()
  clock.advance(1)
  read()
  clock.advance(1)
  t.deepEqual(outcomes, ['slow unknown timedOut at 1000'])
  t.deepEqual(held, [null, { revision: 1, value: 'late' }])
})

test('register in memory: an order that comes twice is done ONCE and answered ONCE', (t) => {
  const { clock, hub, outcomes, note } = place((_, carry) => {
    carry()
    carry()
  })
  const register = hub.connect()
  register.swap('a', 0, 'x', note('a'))
  clock.advance(5_000)
  t.deepEqual(outcomes, ['a ok at 0'])
  register.swap('a', 1, 'y', note('b'))
  clock.advance(0)
  t.deepEqual(outcomes.slice(1), ['b ok at 5000'])
})

test('register in memory: pushes that come in another order are told in order', (t) => {
  const late: (() => void)[] = []
  const { clock, hub, note } = place(({ leg }, carry) => {
    if (leg === 'push') late.unshift(carry)
    else carry()
  })
  const heard: number[] = []
  const watch = hub.connect('w', { pollMs: 60_000 }).watch('a', ({ revision }) => heard.push(revision))
  clock.advance(1)
  const writer = hub.connect()
  for (let revision = 0; revision < 3; revision++) {
    writer.swap('a', revision, revision, note('a'))
    clock.settle()
  }
  for (const carry of late) carry()
  clock.settle()
  t.deepEqual(heard, [3])
  watch.unsubscribe()
})

test('register in memory: a watch looks for itself every second, and leaves no timer behind', (t) => {
  const { clock, hub, note } = place(({ leg }, carry) => {
    if (leg !== 'push') carry()
  })
  const heard: string[] = []
  const reader = hub.connect()
  reader.watch('a', ({ value }) => heard.push(`${value} at ${clock.monotonic()}`))
  const writer = hub.connect()
  clock.advance(300)
  writer.swap('a', 0, 'first', note('a'))
  clock.advance(1_000)
  writer.swap('a', 1, 'second', note('b'))
  clock.advance(699)
  t.deepEqual(heard, ['first at 1000'])
  clock.advance(1)
  t.deepEqual(heard, ['first at 1000', 'second at 2000'])
  reader.close()
  t.is(clock.timers, 0)
})

test('register in memory: a look that is lost is followed by the next one', (t) => {
  let isCut = true
  const { clock, hub, note } = place(({ member }, carry) => {
    if (member !== 'cut' || !isCut) carry()
  })
  const heard: number[] = []
  hub.connect('cut').watch('a', ({ revision }) => heard.push(revision))
  hub.connect().swap('a', 0, 1, note('a'))
  clock.advance(10_000)
  t.deepEqual(heard, [])
  isCut = false
  clock.advance(2_000)
  t.deepEqual(heard, [1])
})
