import test from 'ava'
import { seededRandom } from '../support/seeded-random.ts'
import { nextFault } from './faults.ts'

const first = (times: number, fault: 'killMaster' | 'cutMaster') =>
  Array.from({ length: times }, (_, done) => nextFault({ fault, times }, done, seededRandom(7)))

test('chaos: cuts alone are by turns in, out and both', (t) => {
  const directions = first(6, 'cutMaster').map(({ name, direction }) => `${name} ${direction}`)
  t.deepEqual(directions, [...directions.slice(0, 3), ...directions.slice(0, 3)])
  t.deepEqual(directions.slice(0, 3), ['cutMaster in', 'cutMaster out', 'cutMaster both'])
})

test('chaos: kills alone are nothing but kills of masters', (t) => {
  t.deepEqual(new Set(first(20, 'killMaster').map(({ name }) => name)), new Set(['killMaster']))
})

test('chaos: without an order the seed draws all kinds of faults, and all directions of cuts', (t) => {
  const random = seededRandom(7)
  const drawn = Array.from({ length: 500 }, (_, done) => nextFault(null, done, random))
  t.is(new Set(drawn.map(({ name }) => name)).size, 10)
  t.is(new Set(drawn.filter(({ name }) => name === 'cutMaster').map(({ direction }) => direction)).size, 3)
})
