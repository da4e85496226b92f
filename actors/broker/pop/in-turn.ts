/**
 * Runs a step for each item, one AFTER another. A step that calls back before it returns does not deepen the stack.
 *
 * `next(false)` ends it early. `finished` is called once.
 */
export function inTurn<T>(
  items: Iterable<T>,
  step: (item: T, next: (goesOn?: boolean) => void) => void,
  finished: () => void,
): void {
  const iterator = items[Symbol.iterator]()
  let isLooping = false
  let isFree = true
  const run = (): void => {
    isLooping = true
    while (isFree) {
      isFree = false
      const { done, value } = iterator.next()
      if (done === true) {
        finished()
        return
      }
      step(value, (goesOn = true) => {
        if (!goesOn) return finished()
        isFree = true
        if (!isLooping) run()
      })
    }
    isLooping = false
  }
  run()
}
