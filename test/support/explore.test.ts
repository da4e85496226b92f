import test from 'ava'
import { explore, printed, type System, wander } from './explore.ts'
import { seededRandom } from './seeded-random.ts'

/** Two counters that go up to `most`; `forbidden` is a world that must not be. */
function counters(most: number, forbidden?: readonly number[], ends: string | null = null): System {
  const next = new Int32Array(2)
  let name = ''
  return {
    width: 2,
    first: new Int32Array(2),
    steps(world, tell) {
      for (const i of [0, 1]) {
        next.set(world)
        next[i]!++
        name = `counter ${i} goes up`
        if (next[i]! <= most) tell(next)
      }
    },
    step: () => ({ name, isPerturbation: false, breaks: null }),
    breaks: (world) => (world.join() === forbidden?.join() ? 'forbidden' : null),
    breaksAtEnd: () => ends,
    describe: (world) => world.join(),
  }
}

test('explore: goes through every world once', (t) => {
  t.deepEqual(explore(counters(3)), {
    isWhole: true,
    worlds: 16,
    steps: 24,
    depth: 6,
    ends: 1,
    violation: null,
  })
})

test('explore: tells a shortest way to a world that breaks a property', (t) => {
  const { isWhole, violation } = explore(counters(3, [0, 2]))
  t.false(isWhole)
  t.deepEqual(violation, {
    property: 'forbidden',
    trace: ['counter 1 goes up', 'counter 1 goes up'],
    world: '0,2',
  })
  t.is(printed(violation!), 'forbidden\n    1 counter 1 goes up\n    2 counter 1 goes up\n0,2')
})

test('explore: tells of a first world that breaks a property, and of a step that does', (t) => {
  t.deepEqual(explore(counters(3, [0, 0])).violation?.trace, [])
  const system = counters(3)
  const broken = explore({
    ...system,
    step: () => ({ ...system.step(), breaks: system.step().name.includes('1') ? 'a step' : null }),
  })
  t.deepEqual(broken.violation, { property: 'a step', trace: ['counter 1 goes up'], world: '0,1' })
})

test('explore: looks at where no step leads on', (t) => {
  const { violation } = explore(counters(1, undefined, 'no end'))
  t.is(violation?.property, 'no end')
  t.is(violation?.trace.length, 2)
  t.is(violation?.world, '1,1')
})

test('explore: stops when there are too many worlds', (t) => {
  const { isWhole, worlds, violation } = explore(counters(2_000), 5_000)
  t.false(isWhole)
  t.is(violation, null)
  t.true(worlds >= 5_000 && worlds < 6_000)
})

test('explore: keeps apart more worlds than its first piece of memory holds', (t) => {
  t.is(explore(counters(200)).worlds, 201 * 201)
})

test('wander: the same seed goes the same way, and finds what is there', (t) => {
  const walk = (seed: number) =>
    wander(counters(3, [2, 2]), seededRandom(seed), { stepsMax: 500, stepsPerWalk: 10 })
  t.deepEqual(walk(3), walk(3))
  t.is(walk(3).violation?.world, '2,2')
  t.is(walk(3).violation?.trace.length, 4)
})
