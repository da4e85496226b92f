/** Chance that can be repeated: the same seed gives the same draws. A test prints its seed when it fails. */
import type { Random } from '../../actors/node/world.ts'

export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  // A Weyl sequence, stirred: every 32-bit state comes up once in a period.
  const next32 = () => {
    state = (state + 0x9e3779b9) >>> 0
    let stirred = Math.imul(state ^ (state >>> 16), 0x85ebca6b)
    stirred = Math.imul(stirred ^ (stirred >>> 13), 0xc2b2ae35)
    return (stirred ^ (stirred >>> 16)) >>> 0
  }
  const next = () => ((next32() >>> 5) * 2 ** 26 + (next32() >>> 6)) / 2 ** 53
  const hex = () => next32().toString(16).padStart(8, '0')
  return {
    next,
    below: (bound) => Math.floor(next() * bound),
    id: () => hex() + hex(),
  }
}

/** The seed of this run: STATEMQ_SEED when it is set, else a new one. */
export const seedOfRun = (): number => Number(process.env.STATEMQ_SEED ?? Date.now() % 2 ** 32)
