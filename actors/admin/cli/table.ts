/**
 * Output for people (a table, a list of facts) and for machines (JSON). What a command prints is decided here once.
 *
 * In a pipe nothing is ever cut; on a terminal the widest column of text gives way so that rows stay on one line.
 */
import { styleText } from 'node:util'
import type { Terminal } from './terminal.ts'
import { displayWidth, shorten } from './width.ts'

export type Cell = string | number | null | undefined

const number = new Intl.NumberFormat('en-US')
export const formatNumber = (value: number): string => number.format(value)

/** Rows under capital headings. Numbers stand to the right; what is not known is a dash. */
export function table(
  terminal: Terminal,
  headings: readonly string[],
  rows: readonly (readonly Cell[])[],
): string {
  const texts = rows.map((row) => headings.map((_, column) => textOf(row[column])))
  const isNumeric = headings.map((_, column) => rows.some((row) => typeof row[column] === 'number'))
  const widths = headings.map((heading, column) =>
    Math.max(displayWidth(heading), ...texts.map((row) => displayWidth(row[column]!))),
  )
  shrink(widths, isNumeric, terminal.columns)

  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => {
        const text = shorten(cell, widths[column]!)
        const gap = ' '.repeat(widths[column]! - displayWidth(text))
        return isNumeric[column] ? gap + text : text + gap
      })
      .join(gutter)
      .trimEnd()
  const head = line(headings.map((heading) => heading.toUpperCase()))
  return `${[strong(terminal, head), ...texts.map(line)].join('\n')}\n`
}

/** `name  value` lines; undefined values are left out. */
export function facts(terminal: Terminal, entries: Readonly<Record<string, Cell>>): string {
  const known = Object.entries(entries).filter(([, value]) => value !== undefined)
  const width = Math.max(...known.map(([name]) => displayWidth(name)))
  return known
    .map(
      ([name, value]) =>
        `${faint(terminal, name + ' '.repeat(width - displayWidth(name)))}${gutter}${textOf(value)}\n`,
    )
    .join('')
}

export const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`
export const jsonLine = (value: unknown): string => `${JSON.stringify(value)}\n`

export const strong = (terminal: Terminal, text: string): string =>
  terminal.colours ? styleText('bold', text) : text
export const faint = (terminal: Terminal, text: string): string =>
  terminal.colours ? styleText('dim', text) : text

const gutter = '  '
const columnMin = 12

const textOf = (cell: Cell): string => {
  if (cell === null || cell === undefined || cell === '') return '-'
  // A line break inside a cell would break the table.
  return typeof cell === 'number' ? formatNumber(cell) : cell.replace(/[\r\n\t]+/g, ' ')
}

function shrink(widths: number[], isNumeric: readonly boolean[], columns: number | undefined): void {
  if (columns === undefined) return
  let over = widths.reduce((sum, width) => sum + width, (widths.length - 1) * gutter.length) - columns
  while (over > 0) {
    let widest = 0 // The first column says what a row is about: it gives way last.
    for (const [column, width] of widths.entries()) {
      if (column === 0 || isNumeric[column] || width <= columnMin) continue
      if (widest === 0 || width > widths[widest]!) widest = column
    }
    if (widths[widest]! <= columnMin) return // Too narrow for any table: let the terminal wrap it.
    widths[widest]!--
    over--
  }
}
