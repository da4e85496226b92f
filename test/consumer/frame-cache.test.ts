/** FrameCache: each message once and in order, and everything counted until it is released. */
import test from 'ava'
import { CacheBudget } from '../../actors/consumer/flow-control.ts'
import { FrameCache } from '../../actors/consumer/frame-cache.ts'
import type { IncomingMessage } from '../../actors/consumer/incoming-message.ts'
import { stored, TOPIC } from './support.ts'

function cacheFrom(offset: number) {
  const budget = new CacheBudget(1_000_000)
  const cache = new FrameCache({ topic: TOPIC, brokerName: 'a', queueId: 0 }, budget)
  cache.passTo(offset)
  const add = (frame: Buffer) => cache.add(frame, 0, frame.length)
  const all = () => {
    const found: IncomingMessage[] = []
    for (let message = cache.next(); message; message = cache.next()) found.push(message)
    return found
  }
  return { budget, cache, add, all }
}

test('frame cache: gives what lies from its beginning on, ONCE and in order, however frames overlap', (t) => {
  const { cache, add, all } = cacheFrom(2)
  for (const [offset, count] of [
    [0, 5],
    [0, 3],
    [3, 5],
    [4, 4],
    [6, 6],
  ] as const) {
    add(stored(offset, count))
  }
  t.deepEqual([cache.position, cache.end, cache.messages], [2, 12, 10])
  t.deepEqual(
    all().map(({ queueOffset, text }) => [queueOffset, text]),
    Array.from({ length: 10 }, (_, i) => [i + 2, `${i + 2}`]),
  )
  t.deepEqual([cache.position, cache.isEmpty], [12, true])
})

test('frame cache: what was given out counts until it is released', (t) => {
  const { budget, cache, add, all } = cacheFrom(2)
  add(stored(0, 5))
  add(stored(3, 5))
  const given = all()
  t.is(cache.messages, 6)
  t.is(
    cache.bytes,
    given.reduce((sum, { recordBytes }) => sum + recordBytes, 0),
  )
  t.is(budget.cachedBytes, cache.bytes)
  for (const message of given) cache.release(message)
  t.deepEqual([cache.messages, cache.bytes, budget.cachedBytes], [0, 0, 0])
})

test('frame cache: one that is cleared stands where it was, and has no bytes of the budget', (t) => {
  const { budget, cache, add } = cacheFrom(0)
  add(stored(0, 5))
  cache.next()
  cache.next()
  cache.clear()
  t.is(cache.next(), null)
  t.deepEqual([cache.position, cache.end, cache.messages, cache.bytes], [2, 2, 0, 0])
  t.is(budget.cachedBytes, 0)
  add(stored(0, 5))
  t.is(cache.next()!.queueOffset, 2)
})

test('frame cache: what was left out between two frames is passed over', (t) => {
  const { cache, add, all } = cacheFrom(0)
  add(stored(5, 1))
  cache.passTo(20)
  add(stored(18, 1))
  add(stored(30, 1))
  t.is(cache.position, 5)
  t.deepEqual(
    all().map(({ queueOffset }) => queueOffset),
    [5, 30],
  )
})
