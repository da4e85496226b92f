/** Seeds that once found something, with what they found. They are run for ever. */
export const seeds: readonly (readonly [seed: number, found: string])[] = [
  [4, 'a pull that was held while its queue changed hands was answered to the owner before'],
  [211, 'a lane whose last repetition ran out of time stayed in "repeating" and shipped nothing any more'],
]
