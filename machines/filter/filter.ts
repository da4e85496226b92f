/**
 * Filters: which messages of a topic a consumer wants, by tag or by SQL on their properties.
 *
 * A filter travels and is kept as ONE text: a tag expression as it is, SQL behind `sql:`. The broker and the consumer
 * make the same function of it, so what the broker leaves out NEVER is a message that the consumer would have taken.
 *
 * RocketMQ: common/filter/ExpressionType.java, broker/filter/ExpressionMessageFilter.java
 */
import { compileSql, type Properties } from './sql/compiler.ts'
import { parseSql, SQL_LENGTH_MAX } from './sql/parser.ts'
import { SqlFault } from './sql/tokens.ts'
import { parseTags } from './tag.ts'

/** What a filter looks at. */
export type RecordView = Properties & {
  /** Java's hash of the tag, 0 without one. */
  readonly tagsCode: number
}
export type Filter = (record: RecordView) => boolean

/** `filter: null` wants every message. `column`: the character where it goes wrong, counted from 1, of tags or SQL. */
export type ParsedFilter =
  | { ok: true; filter: Filter | null }
  | { ok: false; message: string; column: number }

/** As users write it: tags as a text, SQL under its name. */
export type FilterExpression = string | { readonly sql: string }

export const SQL_PREFIX = 'sql:'
/** Of the one text, in characters. */
export const EXPRESSION_LENGTH_MAX = SQL_PREFIX.length + SQL_LENGTH_MAX

/** The one text of what a user wrote; null when it is neither tags nor SQL, or something else beside. */
export function expressionText(expression: unknown): string | null {
  if (typeof expression === 'string') return expression
  if (typeof expression !== 'object' || expression === null) return null
  const { sql, ...unknown } = expression as { sql?: unknown }
  return typeof sql === 'string' && Object.keys(unknown).length === 0 ? SQL_PREFIX + sql : null
}

export function parseExpression(text: string): ParsedFilter {
  if (text.startsWith(SQL_PREFIX)) return parseSqlFilter(text.slice(SQL_PREFIX.length))
  if (text.length <= SQL_LENGTH_MAX) return parseTags(text)
  const message = `the tag expression has ${text.length} characters, more than ${SQL_LENGTH_MAX}: use fewer tags`
  return { ok: false, message, column: SQL_LENGTH_MAX + 1 }
}

function parseSqlFilter(sql: string): ParsedFilter {
  try {
    const decide = compileSql(parseSql(sql))
    return { ok: true, filter: (record) => decide(record) === true }
  } catch (fault) {
    if (!(fault instanceof SqlFault)) throw fault
    return { ok: false, message: fault.message, column: fault.column }
  }
}
