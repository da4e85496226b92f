/**
 * Tag expressions: `*`, or tags separated by `||`. Exact, case matters.
 *
 * Two things RocketMQ does otherwise: among other tags it takes `*` for a tag of that name, and it passes over empty parts
 * and takes an empty expression for `*`; here `*` always wants all, and what looks like a slip is refused.
 *
 * RocketMQ: common/filter/FilterAPI.java
 */
import type { Filter, ParsedFilter } from './filter.ts'

/** The name under which RocketMQ keeps a message's tag among its properties. */
const TAGS = 'TAGS'

/** The hash is looked at first: it stands in a record's head, and most messages are decided by it alone. */
export function parseTags(expression: string): ParsedFilter {
  if (expression.trim() === '') {
    const message = "the tag expression is empty: give '*' for all messages, or tags as 'a || b'"
    return { ok: false, message, column: 1 }
  }
  const tags = new Set<string>()
  let at = 0
  for (const part of expression.split('||')) {
    const tag = part.trim()
    if (tag === '' || tag.includes('|')) {
      const message = `'${shown(expression)}' is no tag expression: separate tags by '||', as in 'a || b'`
      return { ok: false, message, column: at + 1 + Math.max(0, part.indexOf('|')) }
    }
    tags.add(tag)
    at += part.length + 2
  }
  return { ok: true, filter: tags.has('*') ? null : filterOf(tags) }
}

function filterOf(tags: ReadonlySet<string>): Filter {
  const codes = new Set([...tags].map(javaHash))
  return (record) => codes.has(record.tagsCode) && tags.has(record.property(TAGS) ?? '')
}

const shown = (text: string): string => (text.length > 100 ? `${text.slice(0, 100)}…` : text)

/** Java's String.hashCode, which RocketMQ's brokers compare tags by. */
export function javaHash(text: string): number {
  let hash = 0
  for (let i = 0; i < text.length; i++) hash = (Math.imul(31, hash) + text.charCodeAt(i)) | 0
  return hash
}
