/** What was subscribed to of a topic: the function for this side, and the text for the broker's. */
import { expressionText, type Filter, parseExpression } from '../../machines/filter/filter.ts'
import { badInput } from '../errors.ts'

export type Subscribed = {
  /** Looks at each message that came; null wants all. */
  readonly filter: Filter | null
  /** Goes with each pull; undefined: the broker sends all. */
  readonly text: string | undefined
}

export const unfiltered: Subscribed = { filter: null, text: undefined }

/** Throws SUBSCRIPTION_PARSE_FAILED, with what was expected and where. `expression`: a FilterExpression, or anything. */
export function subscribed(expression: unknown): Subscribed {
  const text = expressionText(expression)
  if (text === null) throw badFilter("a filter is a text of tags, as 'a || b', or { sql: 'price > 5' }")
  const parsed = parseExpression(text)
  if (!parsed.ok) throw badFilter(`the filter goes wrong at column ${parsed.column}: ${parsed.message}`)
  return parsed.filter === null ? unfiltered : { filter: parsed.filter, text }
}

const badFilter = (message: string) => badInput(message, 'SUBSCRIPTION_PARSE_FAILED')
