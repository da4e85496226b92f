/**
 * Options that nobody knows are refused, with the nearest name: a typo that is ignored changes what is promised.
 *
 * The names are those of the option's type. TypeScript refuses a list that lacks one of them or has one too many, so the
 * check NEVER knows less than the type.
 */
import { badInput } from './errors.ts'

/** Every name of an object of options. */
export type Names<Options> = { readonly [Name in keyof Options]-?: true }

/** Throws INVALID_PARAMETER for the first option that is none of `names`. `whose` reads after "option of". */
export function refuseUnknown(whose: string, given: object, names: { readonly [name: string]: true }): void {
  if (typeof given !== 'object' || given === null)
    throw badInput(`the options of ${whose} are an object`, 'INVALID_PARAMETER')
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(names, name)) continue
    const known = Object.keys(names)
    const near = nearest(name, known)
    const advice = near === null ? `there are ${known.join(', ')}` : `did you mean ${near}?`
    throw badInput(`'${name}' is no option of ${whose}: ${advice}`, 'INVALID_PARAMETER')
  }
}

/** The one of `names` that was probably meant: at most a third of its letters are wrong. Null: none of them. */
export function nearest(name: string, names: readonly string[]): string | null {
  let [found, least]: [string | null, number] = [null, Number.POSITIVE_INFINITY]
  for (const known of names) {
    const typos = typosBetween(name.toLowerCase(), known.toLowerCase())
    if (typos < least && typos * 3 <= Math.max(known.length, 3)) [found, least] = [known, typos]
  }
  return found
}

/** Letters left out, put in, written for others, or for their neighbours (Damerau and Levenshtein). */
function typosBetween(a: string, b: string): number {
  let above: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const twoAbove = above
    above = row
    row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      const swapped = isSwapped ? twoAbove[j - 2]! + 1 : Number.POSITIVE_INFINITY
      row.push(Math.min(replaced, swapped, above[j]! + 1, row[j - 1]! + 1))
    }
  }
  return row[b.length]!
}
