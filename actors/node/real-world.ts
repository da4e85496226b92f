/**
 * The real clock, real chance and a log on the console: the parts of the World that production passes.
 *
 * This file is the only place that asks the system for the time or for randomness; everything else takes a World.
 */
import { randomFillSync } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import type { Clock, Log, Random } from './world.ts'

export const realClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (id) => clearTimeout(id),
  // An immediate runs after the poll phase, which hands over all bytes that have arrived.
  defer: (run) => void setImmediate(run),
}

const two21 = 2 ** 21
const two32 = 2 ** 32
const two53 = 2 ** 53

/** Chance from the system's generator. A call of it costs a microsecond whatever its size, so bytes are drawn by the pool. */
export function realRandom(poolBytes = 8192): Random {
  const pool = Buffer.allocUnsafeSlow(poolBytes)
  let at = poolBytes

  const take = (bytes: number): number => {
    if (at + bytes > poolBytes) {
      randomFillSync(pool)
      at = 0
    }
    at += bytes
    return at - bytes
  }
  const next32 = () => pool.readUInt32LE(take(4))
  const next53 = () => {
    const from = take(8)
    return (pool.readUInt32LE(from) % two21) * two32 + pool.readUInt32LE(from + 4)
  }

  return {
    next: () => next53() / two53,
    below(bound) {
      const range = bound <= two32 ? two32 : two53
      const draw = range === two32 ? next32 : next53
      // A draw from the incomplete last stretch would favour small numbers: draw again.
      const fair = range - (range % bound)
      let drawn = draw()
      while (drawn >= fair) drawn = draw()
      return drawn % bound
    },
    id() {
      const from = take(8)
      return pool.toString('hex', from, from + 8)
    },
  }
}

export type LogLevel = 'info' | 'warn' | 'error' | 'silent'

export interface ConsoleLogOptions {
  /** The least level that is written. */
  readonly level?: LogLevel
  /** One JSON object a line, for machines, in place of the line for people. */
  readonly json?: boolean
  readonly clock?: Pick<Clock, 'now'>
  readonly write?: (line: string) => void
}

type Fields = Readonly<Record<string, unknown>>

const ranks: Record<LogLevel, number> = { info: 0, warn: 1, error: 2, silent: 3 }

/** Lines on stderr: stdout belongs to what a command was asked for. */
export function consoleLog({
  level = 'info',
  json = false,
  clock = realClock,
  write = toStderr,
}: ConsoleLogOptions = {}): Log {
  const format = json ? jsonLine : peoplesLine
  const at = (own: Exclude<LogLevel, 'silent'>) => (message: string, fields?: Fields) => {
    if (ranks[own] >= ranks[level]) write(`${format(clock.now(), own, message, fields)}\n`)
  }
  return { info: at('info'), warn: at('warn'), error: at('error') }
}

/** Of one field of a line, in characters. */
const FIELD_LENGTH_MAX = 2_000

const toStderr = (line: string) => void process.stderr.write(line)

function peoplesLine(now: number, level: string, message: string, fields: Fields = {}): string {
  const date = new Date(now)
  const two = (part: number) => String(part).padStart(2, '0')
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  const tail = Object.entries(fields).flatMap(([key, value]) =>
    value === undefined ? [] : [` ${key}=${word(value)}`],
  )
  const ms = String(date.getMilliseconds()).padStart(3, '0')
  return `${time}.${ms} ${level.toUpperCase().padEnd(5)} ${message}${tail.join('')}`
}

function jsonLine(now: number, level: string, message: string, fields: Fields = {}): string {
  const plain = Object.entries(fields).map(([key, value]) => [key, plainly(value)])
  return JSON.stringify({ time: new Date(now).toISOString(), level, message, ...Object.fromEntries(plain) })
}

/** One word as it is, anything with a gap in it quoted: a reader can split a line at its spaces. */
function word(value: unknown): string {
  const plain = plainly(value)
  const text = typeof plain === 'string' ? plain : JSON.stringify(plain)
  return typeof plain === 'string' && !/^[^\s"=]+$/.test(text) ? JSON.stringify(text) : text
}

/** JSON knows neither errors nor big numbers, and a log line must never throw. */
function plainly(value: unknown): unknown {
  if (value instanceof Error) return short(value.message)
  if (typeof value === 'string') return short(value)
  if (typeof value === 'bigint' || typeof value === 'function' || typeof value === 'symbol')
    return short(String(value))
  try {
    const text: string | undefined = JSON.stringify(value)
    return text !== undefined && text.length > FIELD_LENGTH_MAX ? short(text) : value
  } catch {
    return short(String(value))
  }
}

/** What a handler throws may hold a whole message: one line for each try would fill the disk. */
const short = (text: string): string =>
  text.length > FIELD_LENGTH_MAX ? `${text.slice(0, FIELD_LENGTH_MAX)}… (${text.length} characters)` : text
