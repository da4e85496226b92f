/**
 * The words of an SQL filter, one at a time: a broken one is found when it is reached, NEVER before.
 *
 * The longest word that fits wins, as in RocketMQ: `5L` is one number, `0L` is a zero and a name.
 *
 * RocketMQ: filter/parser/SelectorParser.jj (tokens)
 */

/** A keyword or a sign is its own kind, keywords in capitals. */
export type Token = { kind: string; text: string; at: number }

/** What is wrong with an expression, and at which character, counted from 1. */
export class SqlFault {
  readonly message: string
  readonly column: number
  constructor(message: string, at: number) {
    this.message = message
    this.column = at + 1
  }
}

const keywords = new Set([
  ...['NOT', 'AND', 'OR', 'BETWEEN', 'IN', 'TRUE', 'FALSE', 'NULL', 'IS'],
  ...['CONTAINS', 'STARTSWITH', 'ENDSWITH'],
])

const float = /(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+/y
const decimal = /0|[1-9]\d*[lL]?/y
const string = /'[^']*(?:''[^']*)*'/y
const name = /[a-zA-Z_$][a-zA-Z0-9_$]*/y
const sign = /<>|<=|>=|[=<>(),+-]/y

/** What people write who know other dialects. */
const advice: Record<string, string> = {
  '"': "strings stand in single quotes: 'text'",
  '!': "'not equal' is written <>",
  '%': 'there is no arithmetic, and no pattern: use CONTAINS, STARTSWITH or ENDSWITH',
  '*': 'there is no arithmetic: compare properties with numbers as they are',
  '/': 'there is no arithmetic: compare properties with numbers as they are',
  '&': "'and' is written AND",
  '|': "'or' is written OR",
  ';': 'one expression, without a semicolon',
}

/** The word at or after `from`; `end` when only blanks and comments are left. */
export function tokenAt(text: string, from: number): Token {
  const at = afterBlanks(text, from)
  if (at >= text.length) return { kind: 'end', text: '', at: text.length }
  const taken = (kind: RegExp): string | null => {
    kind.lastIndex = at
    return kind.exec(text)?.[0] ?? null
  }
  let found = taken(name)
  if (found !== null) {
    const word = found.toUpperCase()
    return { kind: keywords.has(word) ? word : 'name', text: found, at }
  }
  found = taken(float)
  if (found !== null) return { kind: 'float', text: found, at }
  found = taken(decimal)
  if (found !== null) return { kind: 'decimal', text: found, at }
  found = taken(string)
  if (found !== null) return { kind: 'string', text: found, at }
  found = taken(sign)
  if (found !== null) return { kind: found, text: found, at }
  throw new SqlFault(strange(text, at), at)
}

function strange(text: string, at: number): string {
  if (text[at] === "'") return "the string that begins here has no end: close it with '"
  if (text.startsWith('/*', at)) return 'the comment that begins here has no end: close it with */'
  const character = String.fromCodePoint(text.codePointAt(at)!)
  const hint = advice[character]
  return `${JSON.stringify(character)} is no part of an SQL filter${hint === undefined ? '' : `: ${hint}`}`
}

/** A `--` without an end of line is no comment here, but two signs: `a = --5` is `a = 5`, as in RocketMQ. */
function afterBlanks(text: string, from: number): number {
  let at = from
  for (;;) {
    const code = text.charCodeAt(at)
    if (code === 32 || (code >= 9 && code <= 13 && code !== 11)) at++
    else if (code === 45 && text.startsWith('--', at)) {
      const end = lineEnd(text, at)
      if (end === -1) return at
      at = end + 1
    } else if (code === 47 && text.startsWith('/*', at)) {
      const end = text.indexOf('*/', at + 2)
      if (end === -1) return at
      at = end + 2
    } else return at
  }
}

function lineEnd(text: string, from: number): number {
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === 10 || code === 13) return at
  }
  return -1
}
