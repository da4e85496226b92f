/**
 * The generation of a division: how many divisions there were, and in its low part which coordinator made this one.
 *
 * Two coordinators of a group may count alike, for one that starts anew knows nothing of its predecessor until a member
 * tells it, and what that one said last may arrive later still. So that a generation NEVER means two divisions, each
 * coordinator makes only those that bear its own number. Members follow the higher generation; but of two that count
 * alike neither is later, and nothing is taken by force in the name of one from who goes by the other.
 */

/** Numbers of coordinators; this leaves room to count some thousand million divisions. */
export const COORDINATORS = 2 ** 20

/** `number`: of the coordinator that makes it, below COORDINATORS. */
export const generationOf = (count: number, number: number): number => count * COORDINATORS + number

/** How many divisions there were with this one. */
export const countOf = (generation: number): number => Math.floor(generation / COORDINATORS)

/** Of the coordinator of that number, and later than this one by so many divisions. */
export const laterBy = (divisions: number, generation: number, number: number): number =>
  generationOf(countOf(generation) + divisions, number)

/** Whether it says more than the other one, whoever made them. */
export const isLater = (generation: number, other: number): boolean => countOf(generation) > countOf(other)

/** Two coordinators made them, and neither knew of the other. */
export const areRivals = (generation: number, other: number): boolean =>
  generation !== other && countOf(generation) === countOf(other)
