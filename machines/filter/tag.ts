/**
 * Tag expressions: `*`, or tags separated by `||`. Exact, case matters.
 *
 * RocketMQ: common/filter/FilterAPI.java
 */

/** The tags of an expression, or null for every message. */
export function tagsOf(expression: string): ReadonlySet<string> | null {
  const tags = expression
    .split('||')
    .map((tag) => tag.trim())
    .filter((tag) => tag !== '')
  return tags.length === 0 || tags.includes('*') ? null : new Set(tags)
}

/** What is wrong with an expression, or null. */
export function tagExpressionFault(expression: string): string | null {
  if (expression.trim() === '')
    return "the tag expression is empty: give '*' for all messages, or tags as 'a || b'"
  const broken = expression.split('||').find((tag) => tag.trim() === '' || tag.includes('|'))
  return broken === undefined
    ? null
    : `'${expression}' is no tag expression: separate tags by '||', as in 'a || b'`
}
