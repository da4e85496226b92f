/** What people see of the demo: a line for each thing that happens, a bar between them, and a table at the end. */
import { type Progress, progress } from '../../actors/admin/cli/progress.ts'
import { facts, faint, formatNumber, jsonLine, strong, table } from '../../actors/admin/cli/table.ts'
import type { Terminal } from '../../actors/admin/cli/terminal.ts'
import { realClock } from '../../actors/node/real-world.ts'
import type { AirportFigures } from './data.ts'
import type { Failover } from './failover.ts'
import type { Comparison, Report, Shares } from './report.ts'

const TITLE = 'StateMQ: 20,000 real flights through a cluster that starts here and now'
const ROWS = 10
const TIME = 9
const WORDS = 46

export class Stage {
  readonly #terminal: Terminal
  readonly #json: boolean
  #isSilent: boolean
  readonly #total: number
  readonly #began = realClock.monotonic()
  #members: readonly string[] = []
  #bar: Progress | null = null
  #isClosed = false

  constructor(terminal: Terminal, json: boolean, total: number) {
    this.#terminal = terminal
    this.#json = json
    this.#isSilent = json
    this.#total = total
  }

  get seconds(): number {
    return (realClock.monotonic() - this.#began) / 1_000
  }

  open(promises: Readonly<Record<string, string>>, members: readonly string[]): void {
    this.#members = members
    this.#print(`${strong(this.#terminal, TITLE)}\n\n${facts(this.#terminal, promises)}\n`)
    this.#print(
      `${' '.repeat(TIME)}${faint(this.#terminal, 'queues of'.padStart(WORDS))}${members.map((name) => cell(name)).join('')}\n`,
    )
  }

  /** What happened, and who owns how many queues since then. */
  tell(words: string, shares: Shares): void {
    this.#bar?.end()
    const time = `${this.seconds.toFixed(1)} s`.padStart(TIME - 2)
    const owned = this.#members.map((name) => cell(name, shares[name] ?? '-'))
    this.#print(`${faint(this.#terminal, time)}  ${words.padEnd(WORDS)}${owned.join('')}\n`)
  }

  progress(consumed: number): void {
    if (this.#json || this.#isClosed) return
    this.#bar ??= progress(this.#terminal, realClock, 'flights consumed', this.#total)
    this.#bar.set(consumed)
  }

  /** Wipes the bar; it is not drawn again. */
  close(): void {
    this.#isClosed = true
    this.#bar?.end()
  }

  interrupt(): void {
    this.close()
    if (!this.#json) this.#terminal.tell('Cleaning up ... (Ctrl-C again stops at once)\n')
    this.#isSilent = true
  }

  conclude(report: Report, comparisons: readonly Comparison[]): void {
    this.close()
    if (this.#json) return this.#terminal.write(jsonLine(report))
    const wrong = comparisons.filter(({ agree }) => !agree)
    const busiest = [...comparisons].sort((a, b) => b.file.flights - a.file.flights)
    this.#print(
      wrong.length === 0
        ? `\nAll ${comparisons.length} airports agree with the file. The ${ROWS} busiest:\n\n`
        : `\n${wrong.length} of ${comparisons.length} airports do NOT agree with the file:\n\n`,
    )
    const headings = ['airport', 'flights', 'in file', 'mean delay', 'in file', '']
    const rows = (wrong.length === 0 ? busiest : wrong)
      .slice(0, ROWS)
      .map(({ airport, consumed, file, agree }) => [
        airport,
        consumed.flights,
        file.flights,
        meanOf(consumed),
        meanOf(file),
        agree ? 'same' : 'DIFFERENT',
      ])
    this.#print(table(this.#terminal, headings, rows))
    this.#print(`\n${summaryOf(this.#terminal, report)}`)
    this.#print('\nNext: `npm start` keeps a cluster running; examples/ shows how programs use it.\n')
  }

  #print(text: string): void {
    if (!this.#isSilent) this.#terminal.write(text)
  }
}

/** A column under a member's name. */
const cell = (name: string, value: string | number = name): string =>
  String(value).padStart(Math.max(name.length, 4) + 2)

const meanOf = ({ flights, delaySum }: AirportFigures): string =>
  (flights === 0 ? '-' : `${(delaySum / flights).toFixed(1)} min`).padStart(10)

function summaryOf(terminal: Terminal, report: Report): string {
  const { sent, consumed, broadcast, lost, duplicates, misordered, seconds } = report
  const { sendPerSecond, consumePerSecond, handlerMs, members, failover } = report
  const shown = formatNumber
  return facts(terminal, {
    sent: `${shown(sent)} at ${shown(sendPerSecond)} /s, each awaited`,
    consumed: `${shown(consumed)} at ${shown(consumePerSecond)} /s, in order, each handled for ${handlerMs} ms`,
    members: members.map(({ name, consumed: own }) => `${name} ${shown(own)}`).join('  '),
    broadcast: `${shown(broadcast)} to a consumer that reads along`,
    ...(failover === null ? {} : failoverFacts(failover)),
    took: `${seconds.toFixed(1)} s`,
    kept: strong(
      terminal,
      `${shown(lost)} lost, ${shown(duplicates)} twice, ${shown(misordered)} out of order`,
    ),
  })
}

function failoverFacts(failover: Failover): Record<string, string> {
  const { brokerName, killed, killedAtSeconds, master, epoch, waitedMs, backMs } = failover
  const inSeconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`
  return {
    killed: `${brokerName}/${killed}, the master, with SIGKILL at ${killedAtSeconds.toFixed(1)} s`,
    'took over': `${brokerName}/${master} at epoch ${epoch}; sends waited ${inSeconds(waitedMs)} at most`,
    back:
      backMs === null
        ? `${brokerName}/${killed} is NOT back as a slave in the sync state set`
        : `${brokerName}/${killed} ${inSeconds(backMs)} later, a slave in the sync state set`,
  }
}
