/** Filters in their one text: tags as they are, SQL behind `sql:`. */
import test from 'ava'
import { expressionText, parseExpression } from '../../machines/filter/filter.ts'
import { javaHash } from '../../machines/filter/tag.ts'

const tagged = (tag: string | undefined) => ({
  tagsCode: tag === undefined ? 0 : javaHash(tag),
  property: (name: string) => (name === 'TAGS' ? tag : undefined),
})

function wanted(text: string, tags: readonly (string | undefined)[]): (string | undefined)[] {
  const parsed = parseExpression(text)
  if (!parsed.ok) throw new Error(parsed.message)
  const { filter } = parsed
  return filter === null ? [...tags] : tags.filter((tag) => filter(tagged(tag)))
}

const faultOf = (text: string): string => {
  const parsed = parseExpression(text)
  return parsed.ok ? 'it parses' : `${parsed.column}: ${parsed.message}`
}

test('filter: tags are wanted as they are written, whatever blanks stand around them', (t) => {
  const tags = ['paid', 'Paid', 'created', 'sent', undefined]
  t.deepEqual(wanted('paid', tags), ['paid'])
  t.deepEqual(wanted(' paid||created ', tags), ['paid', 'created'])
  t.deepEqual(wanted('PAID', tags), [])
})

test('filter: a star wants every message, also among tags', (t) => {
  for (const text of ['*', ' * ', 'a || *']) t.like(parseExpression(text), { ok: true, filter: null })
})

test('filter: tags of one hash are told apart', (t) => {
  t.is(javaHash('Aa'), javaHash('BB'))
  t.deepEqual(wanted('Aa', ['Aa', 'BB']), ['Aa'])
})

test('filter: a message without a tag is wanted by no tag, though its hash may be that of one', (t) => {
  const zero = 'f5a5a608' // Java's hash of it is 0, as of no tag.
  t.is(javaHash(zero), 0)
  t.deepEqual(wanted(zero, [zero, undefined]), [zero])
})

test('filter: the tag is the property TAGS to SQL', (t) => {
  t.deepEqual(wanted("sql:TAGS IN ('a', 'b')", ['a', 'b', 'c', undefined]), ['a', 'b'])
})

test('filter: tags that do not parse say where', (t) => {
  t.is(faultOf(''), "1: the tag expression is empty: give '*' for all messages, or tags as 'a || b'")
  t.regex(faultOf('a ||'), /^5: 'a \|\|' is no tag expression: separate tags by '\|\|'/)
  t.regex(faultOf('a | b'), /^3: /)
  t.regex(faultOf('a || b|c'), /^7: /)
  t.regex(faultOf(`${'a || '.repeat(20_000)}b`), /^16385: the tag expression has 100001 characters/)
})

test('filter: what a user writes becomes one text, and what is neither tags nor SQL does not', (t) => {
  t.is(expressionText('a || b'), 'a || b')
  t.is(expressionText({ sql: 'a = 5' }), 'sql:a = 5')
  for (const odd of [5, null, undefined, {}, { sql: 5 }, { sql: 'a = 5', tags: 'b' }, ['a']]) {
    t.is(expressionText(odd), null)
  }
})
