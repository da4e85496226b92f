/** A long run as a program: it tells what it does as it goes, and leaves nothing behind. */

const began = performance.now()
export const tell = (line: string): void =>
  void process.stderr.write(`${((performance.now() - began) / 1_000).toFixed(1).padStart(7)} s  ${line}\n`)

/** What is left to do at the end, the last first. */
const ends: (() => unknown)[] = []
export const scope = { teardown: (end: () => unknown) => void ends.push(end) }
export async function tearDown(): Promise<void> {
  for (const end of ends.splice(0).reverse()) await end()
}
