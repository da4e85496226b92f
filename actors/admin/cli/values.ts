/** Reads the values of options. What cannot be read is a usage error that says what can. */
import { InvalidArgumentError } from 'commander'
import { parseExpression } from '../../../machines/filter/filter.ts'
import type { Position } from './face.ts'

export const whole =
  (least: number, most = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < least || value > most) {
      const range = most === Number.MAX_SAFE_INTEGER ? `${least} on` : `${least} to ${most}`
      throw new InvalidArgumentError(`Give a whole number from ${range}.`)
    }
    return value
  }

/** A filter in its one text: behind `prefix` what was typed. */
export const filter =
  (prefix: string) =>
  (text: string): string => {
    const parsed = parseExpression(prefix + text)
    if (!parsed.ok) throw new InvalidArgumentError(`At column ${parsed.column}: ${parsed.message}.`)
    return prefix + text
  }

/** `first`, `last`, or a moment: 2026-05-01T12:00Z, milliseconds since 1970, or how long ago (90s, 15m, 2h, 7d). */
export const position =
  (now: () => number) =>
  (text: string): Position =>
    place(text, now(), places)

/** Like `position`, or a queue offset: `offset:120`. */
export const target =
  (now: () => number) =>
  (text: string): Position | number => {
    if (!text.startsWith('offset:')) return place(text, now(), `${places}; or offset:N`)
    const offset = Number(text.slice('offset:'.length))
    if (/^offset:\d+$/.test(text) && Number.isSafeInteger(offset)) return offset
    throw new InvalidArgumentError('Give offset:N with a whole number from 0 on.')
  }

const msOf: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Date.parse alone takes 'offset:-1' for a day in 2001. */
const isoTime = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$/

const places = 'first, last, a time such as 2026-05-01T12:00Z, or how long ago: 90s, 15m, 2h, 7d'

function place(text: string, now: number, allowed: string): Position {
  if (text === 'first' || text === 'last') return text
  const ago = /^(\d+)([smhd])$/.exec(text)
  const ms = ago
    ? now - Number(ago[1]) * msOf[ago[2]!]!
    : /^\d{11,}$/.test(text)
      ? Number(text)
      : isoTime.test(text)
        ? Date.parse(text)
        : Number.NaN
  if (Number.isNaN(ms)) {
    throw new InvalidArgumentError(`Give ${allowed}.`)
  }
  return new Date(ms)
}

/** Collects `--property name=value` options. */
export function property(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('Give name=value.')
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) }
}

/** Collects a list that may be given at once, `a,b`, or by repeating the option. */
export const list = (text: string, before: string[] = []): string[] => [
  ...before,
  ...text.split(',').flatMap((item) => (item.trim() === '' ? [] : [item.trim()])),
]

export const permission = (text: string): number => {
  const perm = { r: 4, w: 2, rw: 6 }[text] ?? { 4: 4, 2: 2, 6: 6 }[text]
  if (perm === undefined) throw new InvalidArgumentError('Give r (4), w (2) or rw (6).')
  return perm
}
export const permissionName = (perm: number): string =>
  `${(perm & 4) === 0 ? '-' : 'r'}${(perm & 2) === 0 ? '-' : 'w'}`

export function age(ms: number): string {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 1) return `${Math.max(0, Math.round(ms))} ms`
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`
}

export function bytes(count: number): string {
  let value = count
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1024) return `${unit === 'B' ? value : value.toFixed(1)} ${unit}`
    value /= 1024
  }
  return `${value.toFixed(1)} TiB`
}

export function timeOfDay(ms: number): string {
  const date = new Date(ms)
  const two = (part: number) => String(part).padStart(2, '0')
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  return `${time}.${String(date.getMilliseconds()).padStart(3, '0')}`
}
