/** Seeds that once found something, with what they found. They are run for ever. */
export const seeds: readonly (readonly [seed: number, found: string])[] = [
  [4, 'a pull that was held while its queue changed hands was answered to the owner before'],
  [28, 'a consumer that had left still asked a broker to release a queue'],
  [211, 'a lane whose last repetition ran out of time stayed in "repeating" and shipped nothing any more'],
  [1063, 'a broker forgot a producer when its wall clock jumped, and stored a repeated frame twice'],
  [1119, 'a frame without an answer fell out of the eight that a broker remembers, and was stored twice'],
  [2013, 'the same, and the second copy stood behind younger messages of its group'],
]

/** Seeds with replicated brokers: each but the last two finds a bug of replication when one is planted. */
export const replicatedSeeds: readonly number[] = [
  202, 205, 207, 225, 230, 252, 262, 275, 312, 325, 332, 210, 35,
]
