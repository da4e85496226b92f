/**
 * The generation of a division: how many divisions there were, and in its low part which coordinator made this one.
 *
 * A coordinator that starts anew knows nothing of its predecessor until a member tells it, and what that one said last may
 * arrive later still. So that a generation NEVER means two divisions, each coordinator makes only those that bear its own
 * number; and AFTER it has heard of a predecessor it counts on from far beyond. So of two generations that different
 * coordinators made, one is later only when it is far beyond the other: else neither knew of the other, whatever they
 * count, and nothing is taken by force in the name of one from who goes by the other. Members follow the higher one.
 */

/** Numbers of coordinators; this leaves room to count some thousand million divisions. */
export const COORDINATORS = 2 ** 20
/** What a coordinator counts on by that has heard of another one. */
const LEAP = 100_000
/** More divisions than a predecessor can have made without any of its members hearing of one. */
const UNHEARD = LEAP / 2

/** `number`: of the coordinator that makes it, below COORDINATORS. */
export const generationOf = (count: number, number: number): number => count * COORDINATORS + number

/** How many divisions there were with this one; 0: none. */
export const countOf = (generation: number): number => Math.floor(generation / COORDINATORS)
const numberOf = (generation: number): number => generation % COORDINATORS

/** The one of the coordinator of that number that comes next. */
export const nextOf = (generation: number, number: number): number =>
  generationOf(countOf(generation) + 1, number)

/** Of the coordinator of that number, which has heard of both. */
export const beyond = (generation: number, other: number, number: number): number =>
  generationOf(Math.max(countOf(generation), countOf(other)) + LEAP, number)

/** Whether who made it knew of the other one. */
export function isLater(generation: number, other: number): boolean {
  const lead = countOf(generation) - countOf(other)
  if (countOf(other) === 0 || numberOf(generation) === numberOf(other)) return lead > 0
  return lead >= UNHEARD
}

/** Two coordinators made them, and neither knew of the other. */
export const areRivals = (generation: number, other: number): boolean =>
  Math.min(countOf(generation), countOf(other)) > 0 &&
  numberOf(generation) !== numberOf(other) &&
  !isLater(generation, other) &&
  !isLater(other, generation)
