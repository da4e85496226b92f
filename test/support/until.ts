/** Waiting for facts: a test never sleeps and hopes. */

/** Generous: a test never fails because the machine is slow. */
export const LIMIT_MS = 60_000

/** Looks again and again until it is so; throws `what` when it has not become so within the limit. */
export async function until(
  what: string | (() => string),
  isSo: () => boolean | Promise<boolean>,
  limitMs = LIMIT_MS,
): Promise<void> {
  const end = performance.now() + limitMs
  while (!(await isSo())) {
    if (performance.now() > end) {
      const fact = typeof what === 'string' ? what : what()
      throw new Error(`after ${limitMs} ms it is not so that ${fact}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
