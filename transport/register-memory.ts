/**
 * The memory home of the register: actors of one process around one table, for tests and simulations.
 *
 * It behaves as one that is far away: an order travels there, its answer travels back, and pushes travel to who
 * watches, each in a later turn. A simulation decides by `route` about each of them: an order that is lost was NOT
 * done, an answer that is lost was done all the same, and an order that is late is done AFTER its outcome was told as
 * 'unknown'.
 */
import { fail, succeed } from './failures.ts'
import type { Clock, Log } from './ports.ts'
import { type Held, REGISTER_TIMES, type Register, type RegisterTimes, type SwapOutcome } from './register.ts'
import { parseValue, registerOver, unknown } from './register-client.ts'

/** One message between a member and the table. */
export type RegisterPassage = {
  readonly member: string
  readonly leg: 'order' | 'answer' | 'push'
  readonly operation: 'read' | 'swap' | 'watch'
  readonly key: string
}

export type RegisterHubOptions = {
  readonly clock: Clock
  /** Hears of hearers that throw. Without it such an error is thrown by a timer of its own, where a test sees it. */
  readonly log?: Log
  /** A simulated network: calls `carry` now, later, several times or never. */
  readonly route?: (passage: RegisterPassage, carry: () => void) => void
}

export interface RegisterHub {
  /** `member` is what `route` calls it. */
  connect(member?: string, times?: Partial<RegisterTimes>): Register
}

/** Values are kept as text: nobody shares an object with anybody. */
type Stored = { readonly revision: number; readonly text: string }
type Watcher = { readonly member: string; readonly key: string; readonly hint: (held: Held) => void }

export function createRegisterHub(options: RegisterHubOptions): RegisterHub {
  const { clock, log, route = (_, carry) => carry() } = options
  const table = new Map<string, Stored>()
  const watchers = new Set<Watcher>()
  let members = 0

  const heldAt = (key: string): Held | null => {
    const stored = table.get(key)
    return stored === undefined ? null : { revision: stored.revision, value: parseValue(stored.text) }
  }

  function swap(key: string, expected: number, text: string): SwapOutcome {
    const held = heldAt(key)
    if ((held?.revision ?? 0) !== expected) return { result: 'conflict', held }
    const stored = { revision: expected + 1, text }
    table.set(key, stored)
    for (const watcher of watchers) if (watcher.key === key) push(watcher, stored)
    return { result: 'ok', revision: stored.revision }
  }

  function push(watcher: Watcher, { revision, text }: Stored): void {
    const { member, key } = watcher
    pass({ member, key, leg: 'push', operation: 'watch' }, () => {
      if (watchers.has(watcher)) watcher.hint({ revision, value: parseValue(text) })
    })
  }

  const pass = (passage: RegisterPassage, run: () => void): void =>
    route(passage, () => clock.defer(() => safely(run)))

  function safely(run: () => void): void {
    try {
      run()
    } catch (error) {
      if (log !== undefined) log.error('a hearer of the register threw', { error })
      else
        clock.setTimeout(() => {
          throw error
        }, 0)
    }
  }

  type Call = Omit<RegisterPassage, 'leg'> & { timeoutMs: number }
  function call<T>(
    { timeoutMs, ...place }: Call,
    run: () => T,
    late: (text: string) => T,
    done: (answer: T) => void,
  ): void {
    let isWaiting = true
    const settle = (answer: T): void => {
      if (!isWaiting) return
      isWaiting = false
      clock.clearTimeout(timer)
      done(answer)
    }
    const timer = clock.setTimeout(
      () => safely(() => settle(late(lateSentence(place, timeoutMs)))),
      timeoutMs,
    )
    pass({ ...place, leg: 'order' }, () => {
      const answer = run()
      pass({ ...place, leg: 'answer' }, () => settle(answer))
    })
  }

  return {
    connect(member = `member-${++members}`, times = {}) {
      const { readTimeoutMs, swapTimeoutMs, pollMs } = { ...REGISTER_TIMES, ...times }
      return registerOver({
        clock,
        pollMs,
        read(key, done) {
          const place = { member, key, operation: 'read', timeoutMs: readTimeoutMs } as const
          call(
            place,
            () => succeed(heldAt(key)),
            (text) => fail('timedOut', text, true),
            done,
          )
        },
        swap(key, expected, text, done) {
          const place = { member, key, operation: 'swap', timeoutMs: swapTimeoutMs } as const
          call(
            place,
            () => swap(key, expected, text),
            (why) => unknown(fail('timedOut', why, true).failure),
            done,
          )
        },
        listen(key, hint) {
          const watcher = { member, key, hint }
          watchers.add(watcher)
          return () => void watchers.delete(watcher)
        },
      })
    },
  }
}

const lateSentence = ({ operation, key }: { operation: string; key: string }, timeoutMs: number): string =>
  `the register did not answer a ${operation} of '${key}' within ${timeoutMs} ms: whether it was done is unknown`
