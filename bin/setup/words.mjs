/**
 * What a set-up says. All of it goes to stderr: what the commands print stays alone on stdout.
 *
 * A SetupError is what a person can do something about, and is shown without a stack; anything else is a bug of ours.
 */
import { performance } from 'node:perf_hooks'

/** Its message says what was tried, what happened, what to do. */
export class SetupError extends Error {}

export const say = (words) => process.stderr.write(`${words}\n`)
export const report = (error) =>
  say(error instanceof SetupError ? error.message : (error.stack ?? String(error)))

/** One line a step. */
export async function step(name, work) {
  const began = performance.now()
  const elapsed = () => `${((performance.now() - began) / 1000).toFixed(1)} s`
  process.stderr.write(`${name} ... `)
  try {
    await work()
    process.stderr.write(`${elapsed()}\n`)
  } catch (error) {
    process.stderr.write(`failed after ${elapsed()}\n\n`)
    throw error
  }
}
