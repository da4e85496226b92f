/**
 * The judgement of a demo: what went in held against what came out, and what of that is broken.
 *
 * A message that is given twice breaks nothing: at least once is what is promised, and a master that dies may take along
 * that a message was acknowledged. One that is lost, out of order or different does.
 */
import { type AirportFigures, figuresOf, type NumberedFlight } from './data.ts'
import type { Failover } from './failover.ts'
import type { Ledger } from './ledger.ts'

/** How many queues each member owns. */
export type Shares = Readonly<Record<string, number>>

/** What `--json` prints. */
export type Report = {
  sent: number
  consumed: number
  duplicates: number
  lost: number
  misordered: number
  /** Airports whose figures, as consumed, are not those of the file. */
  mismatches: number
  /** Messages that the group has not committed when its last member has left. */
  uncommitted: number
  /** What the broadcasting consumer saw, each message counted once. */
  broadcast: number
  /** How often the queues were divided anew while messages flowed. */
  rebalances: number
  /** The queues of each member after each division. */
  divisions: Shares[]
  members: { name: string; consumed: number }[]
  airports: number
  sendPerSecond: number
  consumePerSecond: number
  handlerMs: number
  /** Null when the demo ended before it. */
  failover: Failover | null
  seconds: number
}

export type Comparison = { airport: string; consumed: AirportFigures; file: AirportFigures; agree: boolean }

export type Judgement = { report: Report; comparisons: Comparison[]; broken: string[] }

export type Played = {
  flights: readonly NumberedFlight[]
  ledger: Pick<Ledger, 'consumed' | 'duplicates' | 'misordered'>
  sent: number
  broadcast: number
  uncommitted: number
  divisions: Shares[]
  members: { name: string; consumed: number }[]
  failover: Failover | null
  sendingMs: number
  consumingMs: number
  handlerMs: number
  seconds: number
  /** For how long nothing moved before the demo gave up; null when it came to its end. */
  stalledMs: number | null
}

export function judge(played: Played): Judgement {
  const { ledger, sent, broadcast, divisions, failover, stalledMs } = played
  const { consumed, duplicates, misordered } = ledger
  const comparisons = compare(played.flights, consumed)
  const report: Report = {
    sent,
    consumed: consumed.length,
    duplicates,
    lost: sent - consumed.length,
    misordered,
    mismatches: comparisons.filter(({ agree }) => !agree).length,
    uncommitted: played.uncommitted,
    broadcast,
    rebalances: divisions.length - 1,
    divisions,
    members: played.members,
    airports: comparisons.length,
    sendPerSecond: perSecond(sent, played.sendingMs),
    consumePerSecond: perSecond(consumed.length, played.consumingMs),
    handlerMs: played.handlerMs,
    failover: failover && { ...failover, killedAtSeconds: tenths(failover.killedAtSeconds) },
    seconds: tenths(played.seconds),
  }
  const { lost, mismatches } = report
  const broken = Object.entries({ lost, misordered, mismatches, 'not broadcast': sent - broadcast })
    .filter(([, count]) => count !== 0)
    .map(([what, count]) => `${count} ${what}`)
  if (failover === null) broken.unshift('no master was killed')
  else if (failover.backMs === null)
    broken.unshift(`${failover.brokerName}/${failover.killed} did not come back`)
  if (stalledMs !== null) broken.unshift(`nothing moved for ${stalledMs / 1_000} s`)
  return { report, comparisons, broken }
}

function compare(flights: readonly NumberedFlight[], consumed: readonly NumberedFlight[]): Comparison[] {
  const figures = figuresOf(consumed)
  return [...figuresOf(flights)].map(([airport, file]) => {
    const own = figures.get(airport) ?? { flights: 0, delaySum: 0 }
    const agree = own.flights === file.flights && own.delaySum === file.delaySum
    return { airport, consumed: own, file, agree }
  })
}

const perSecond = (count: number, ms: number): number => (ms === 0 ? 0 : Math.round((count * 1_000) / ms))
const tenths = (value: number): number => Math.round(value * 10) / 10
