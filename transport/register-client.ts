/**
 * What all homes of the register have in common: what is a bug of the caller, what a closed register answers, and how a
 * watch is kept.
 *
 * A watch hears pushes and looks for itself: at its start, every `pollMs`, and when its home says that pushes may have
 * been lost. Whatever the way, a value is told only when its revision is higher than all that was told BEFORE, so it
 * NEVER goes back and repeats nothing. A register that was put back, by restoring a copy of it or by emptying it, is the one
 * exception: it is told as what it is, AFTER two looks in a row found it so, for one look may come from a server that is
 * behind. It may have come to the same revision again by then: another value under it shows that.
 */
import type { Json } from '../machines/effect.ts'
import { brokerNameFault } from '../machines/names.ts'
import { hear } from './codec.ts'
import { type Failure, fail, type Outcome } from './failures.ts'
import { held } from './messages.ts'
import type { Clock } from './ports.ts'
import { type Held, type Register, type SwapOutcome, VALUE_BYTES_MAX } from './register.ts'
import type { Subjects } from './subjects.ts'
import type { Subscription, Transport } from './transport.ts'

/** A home answers each call exactly once and NEVER from inside the call. */
export type RegisterHome = {
  readonly clock: Clock
  readonly pollMs: number
  read(key: string, done: (outcome: Outcome<Held | null>) => void): void
  /** `text` is the value as JSON. */
  swap(key: string, expected: number, text: string, done: (outcome: SwapOutcome) => void): void
  /** Passes on pushes, which are hints; `missed` when some may have been lost. Returns how to stop. */
  listen(key: string, hint: (held: Held) => void, missed: () => void): () => void
}

export const unknown = (failure: Failure): SwapOutcome => ({ result: 'unknown', failure })

/** Pushes of those who swapped; a connection that was broken may have missed some. */
export const pushesOver =
  (transport: Transport, { changed }: Subjects['register']): RegisterHome['listen'] =>
  (key, hint, missed) => {
    const pushes = hear(transport, changed(key), held, hint)
    const stopStates = transport.onState((state) => {
      if (state === 'connected') missed()
    })
    return () => {
      pushes.unsubscribe()
      stopStates()
    }
  }

export const parseValue = (text: string): Json => JSON.parse(text) as Json

export function registerOver(home: RegisterHome): Register {
  const { clock } = home
  const watches = new Set<Subscription>()
  let isOpen = true

  return {
    read(key, done) {
      checkKey(key)
      if (isOpen) home.read(key, done)
      else clock.defer(() => done(closed))
    },
    swap(key, expected, value, done) {
      checkKey(key)
      if (!Number.isSafeInteger(expected) || expected < 0)
        throw new RangeError(`a swap of '${key}' expects revision ${expected}: give one that was read, or 0`)
      const text = textOf(key, value)
      if (isOpen) home.swap(key, expected, text, done)
      else clock.defer(() => done(unknown(closed.failure)))
    },
    watch(key, tell, wentBack) {
      checkKey(key)
      if (!isOpen) throw new Error(`watch of '${key}' AFTER the register was closed`)
      const watch = startWatch(home, key, tell, wentBack)
      watches.add(watch)
      return {
        unsubscribe() {
          watches.delete(watch)
          watch.unsubscribe()
        },
      }
    },
    close() {
      isOpen = false
      for (const watch of watches) watch.unsubscribe()
      watches.clear()
    },
  }
}

const closed = fail('closed', 'the register was closed: nothing was sent')

function checkKey(key: string): void {
  const fault = brokerNameFault(key)
  if (fault !== null) throw new TypeError(`a key of the register is a broker's name: ${fault.message}`)
}

function textOf(key: string, value: Json): string {
  const text = JSON.stringify(value)
  const bytes = Buffer.byteLength(text)
  if (bytes <= VALUE_BYTES_MAX) return text
  throw new RangeError(`${bytes} bytes for '${key}' are refused: the register holds ${VALUE_BYTES_MAX} a key`)
}

/** So many looks in a row that find another value than was told before they began, and none that is newer. */
const LOOKS_BACK = 2

function isPutBack(found: Held | null, told: Held): boolean {
  const revision = found?.revision ?? 0
  if (revision !== told.revision) return revision < told.revision
  return found !== null && JSON.stringify(found.value) !== JSON.stringify(told.value)
}

function startWatch(
  home: RegisterHome,
  key: string,
  tell: (held: Held) => void,
  wentBack: (held: Held | null) => void = () => {},
): Subscription {
  const { clock, pollMs } = home
  /** Revision 0: nothing. */
  let told: Held = { revision: 0, value: null }
  let looksBack = 0
  let isOpen = true
  let isReading = false
  let isStale = false // More was missed while a read was under way, which may have been answered before that.
  let timer: unknown

  // A hearer may throw: all that the watch needs for its next step is done BEFORE it is called.
  function offer(newest: Held): void {
    if (!isOpen || newest.revision <= told.revision) return
    told = newest
    tell(newest)
  }

  function found(newest: Held | null, toldBefore: Held): void {
    looksBack = isPutBack(newest, toldBefore) ? looksBack + 1 : 0
    if (looksBack < LOOKS_BACK) return newest === null ? undefined : offer(newest)
    looksBack = 0
    told = newest ?? { revision: 0, value: null }
    wentBack(newest)
  }

  function look(): void {
    if (!isOpen) return
    isStale = isReading
    if (isReading) return
    clock.clearTimeout(timer)
    isReading = true
    const toldBefore = told
    home.read(key, (outcome) => {
      isReading = false
      if (!isOpen) return
      if (isStale) look()
      else timer = clock.setTimeout(look, pollMs)
      if (outcome.ok) found(outcome.value, toldBefore)
    })
  }

  const stop = home.listen(key, offer, look)
  look()
  return {
    unsubscribe() {
      isOpen = false
      clock.clearTimeout(timer)
      stop()
    },
  }
}
