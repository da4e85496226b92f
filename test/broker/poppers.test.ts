/** Who pops: for how long a client counts, and that none is kept for ever. */
import test from 'ava'
import { Poppers } from '../../actors/broker/pop/poppers.ts'
import { virtualClock } from '../support/virtual-clock.ts'

test('poppers: a client counts until it leaves, or has received nothing for a while', (t) => {
  const clock = virtualClock()
  const poppers = new Poppers(clock)
  t.false(poppers.has('g', 'orders'))
  poppers.received('g', 'orders', 'a')
  poppers.received('g', 'other', 'a')
  poppers.received('gg', 'orders', 'a')
  t.true(poppers.has('g', 'orders'))
  poppers.left('g', 'a')
  t.false(poppers.has('g', 'orders'))
  t.false(poppers.has('g', 'other'))
  t.true(poppers.has('gg', 'orders'))
  clock.advance(29_999)
  t.true(poppers.has('gg', 'orders'))
  poppers.received('gg', 'orders', 'a')
  clock.advance(29_999)
  t.true(poppers.has('gg', 'orders'))
  clock.advance(1)
  t.false(poppers.has('gg', 'orders'))
})

test('poppers: clients that come, receive and die without a word are NOT kept for ever', (t) => {
  const clock = virtualClock()
  const poppers = new Poppers(clock)
  for (let i = 0; i < 1_000; i++) {
    poppers.received('g', 'orders', `client-${i}`)
    poppers.received('g', 'orders', 'one that lives')
    clock.advance(1_000)
  }
  t.true(poppers.size <= 31)
  t.true(poppers.has('g', 'orders'))
})
