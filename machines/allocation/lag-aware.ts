/**
 * LagAware: sticky, and by and by the members get about as many waiting messages as each other.
 *
 * A member's load is the sum of the lags of its queues. Members have the same counts of queues as with sticky, so load
 * moves by exchanging a queue of a heavy member for one of a light member; what is free anyway goes, the most loaded
 * queue first, to the member with the least load.
 *
 * Each exchange hands over two queues for good, so it is made only where it pays: the heavy member has more than
 * `RATIO_MAX` times the load of the light one and at least `GAP_MIN` messages more, and the heavier of the two gets
 * lighter by `GAIN_MIN` of that difference or more. At one time AT MOST a sixteenth of the queues are exchanged, two at
 * least.
 *
 * It NEVER swings: while the lags stay as they are, each exchange makes the sum of the squares of the loads smaller, so
 * a time comes when none is made any more. Load that a single queue makes cannot be spread, and is let be.
 *
 * RocketMQ has nothing like it.
 */
import { compareText, type QueueRef, queueKey } from '../topic.ts'
import { firstAtOrAfter } from './consistent-hash.ts'
import { keep, type Seat, sharesOfSeats } from './sticky.ts'
import type { AllocationInput, Strategy } from './strategy.ts'

const RATIO_MAX = 1.25
const GAP_MIN = 1_000
const GAIN_MIN = 1 / 8
/** How many of the lightest members a heavy one is compared with. */
const PARTNERS = 8

type Loaded = { queue: QueueRef; lag: number }
/** `loaded`: its queues, the least lag first; `lags`: the same lags. */
type Member = { seat: Seat; loaded: Loaded[]; lags: number[]; load: number }
type Exchange = { light: Member; given: number; taken: number; gain: number }

export const lagAware: Strategy = (input) => {
  const { seats, free } = keep(input)
  const members = seats.map((seat) => memberOf(seat, input))
  for (const loaded of free.map((queue) => loadedOf(queue, input)).sort((a, b) => b.lag - a.lag)) {
    const lightest = lightestWithRoom(members)
    if (lightest) add(lightest, loaded)
  }
  relieve(members, Math.ceil(input.queues.length / 32))
  for (const { seat, loaded } of members) seat.queues = loaded.map(({ queue }) => queue)
  return sharesOfSeats(seats)
}

function loadedOf(queue: QueueRef, { lags }: AllocationInput): Loaded {
  const lag = lags[queueKey(queue)] ?? 0
  return { queue, lag: lag > 0 ? lag : 0 }
}

function memberOf(seat: Seat, input: AllocationInput): Member {
  const loaded = seat.queues.map((queue) => loadedOf(queue, input)).sort((a, b) => a.lag - b.lag)
  const lags = loaded.map(({ lag }) => lag)
  return { seat, loaded, lags, load: lags.reduce((sum, lag) => sum + lag, 0) }
}

/** The first one of those that are alike, so without lags this is sticky. */
function lightestWithRoom(members: readonly Member[]): Member | null {
  let lightest: Member | null = null
  for (const member of members) {
    if (member.loaded.length >= member.seat.size) continue
    if (lightest === null || member.load < lightest.load) lightest = member
  }
  return lightest
}

function add(member: Member, loaded: Loaded): void {
  const at = firstAtOrAfter(member.lags, loaded.lag)
  member.loaded.splice(at, 0, loaded)
  member.lags.splice(at, 0, loaded.lag)
  member.load += loaded.lag
}

function remove(member: Member, at: number): Loaded {
  const [loaded] = member.loaded.splice(at, 1)
  member.lags.splice(at, 1)
  member.load -= loaded!.lag
  return loaded!
}

/** Makes up to that many exchanges, each for the heaviest member that one relieves. */
function relieve(members: readonly Member[], exchangesMax: number): void {
  let waiting = [...members].sort(heaviestFirst)
  for (let made = 0; made < exchangesMax; ) {
    const [heavy, ...others] = waiting
    if (!heavy || !isUneven(heavy, others.at(-1))) return
    const best = bestExchange(heavy, others.slice(-PARTNERS).reverse())
    if (best === null) {
      waiting = others // Nothing relieves it.
      continue
    }
    const given = remove(heavy, best.given)
    add(heavy, remove(best.light, best.taken))
    add(best.light, given)
    waiting.sort(heaviestFirst)
    made += 1
  }
}

const heaviestFirst = (a: Member, b: Member): number =>
  b.load - a.load || compareText(a.seat.clientId, b.seat.clientId)

const isUneven = (heavy: Member, light: Member | undefined): light is Member =>
  light !== undefined && heavy.load > light.load * RATIO_MAX && heavy.load - light.load >= GAP_MIN

/** That which brings the two closest to each other; null when none gains enough. */
function bestExchange(heavy: Member, lightestFirst: readonly Member[]): Exchange | null {
  let best: Exchange | null = null
  for (const light of lightestFirst) {
    if (!isUneven(heavy, light)) break
    const gap = heavy.load - light.load
    for (const [given, lag] of heavy.lags.entries()) {
      // Of what the light member has, the two around that which would leave them alike.
      const after = firstAtOrAfter(light.lags, lag - gap / 2)
      for (const taken of [after - 1, after]) {
        const moved = lag - (light.lags[taken] ?? Number.POSITIVE_INFINITY)
        const gain = Math.min(moved, gap - moved)
        if (gain >= gap * GAIN_MIN && gain > (best?.gain ?? 0)) best = { light, given, taken, gain }
      }
    }
  }
  return best
}
