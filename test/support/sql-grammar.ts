/**
 * SQL filters as their grammar makes them: any expression, and how somebody writes it.
 *
 * RocketMQ: filter/parser/SelectorParser.jj
 */
import fc from 'fast-check'

/** The grammar, production by production. */
export type Or = { or: And[] }
export type And = { and: Equality[] }
export type Equality = {
  first: Comparison
  links: ({ op: '=' | '<>'; to: Comparison } | { op: 'IS'; not: boolean })[]
}
export type Comparison = { first: Unary; links: Link[] }
export type Link =
  | { op: '>' | '>=' | '<' | '<='; to: Unary }
  | { op: 'CONTAINS' | 'STARTSWITH' | 'ENDSWITH'; not: boolean; text: string }
  | { op: 'BETWEEN'; not: boolean; low: Unary; high: Unary }
  | { op: 'IN'; not: boolean; texts: string[] }
export type Unary = { sign: '+' | '-' | 'NOT'; of: Unary } | { primary: Primary }
export type Primary =
  | { name: string }
  | { text: string }
  | { number: string }
  | { word: 'TRUE' | 'FALSE' | 'NULL' }
  | { inner: Or }

/** The words of it; between any two stands a blank or a comment. */
export function words(or: Or): string[] {
  const joined = <T>(list: readonly T[], each: (item: T) => string[], between: string): string[] =>
    list.flatMap((item, i) => (i === 0 ? each(item) : [between, ...each(item)]))
  const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`
  const unary = (u: Unary): string[] => ('sign' in u ? [u.sign, ...unary(u.of)] : primary(u.primary))
  const primary = (p: Primary): string[] => {
    if ('name' in p) return [p.name]
    if ('text' in p) return [quoted(p.text)]
    if ('number' in p) return [p.number]
    return 'word' in p ? [p.word] : ['(', ...words(p.inner), ')']
  }
  const link = (l: Link): string[] => {
    const not = 'not' in l && l.not ? ['NOT'] : []
    if (l.op === 'BETWEEN') return [...not, l.op, ...unary(l.low), 'AND', ...unary(l.high)]
    if (l.op === 'IN') return [...not, l.op, '(', ...joined(l.texts, (text) => [quoted(text)], ','), ')']
    return 'to' in l ? [l.op, ...unary(l.to)] : [...not, l.op, quoted(l.text)]
  }
  const comparison = (c: Comparison): string[] => [...unary(c.first), ...c.links.flatMap(link)]
  const equality = (e: Equality): string[] => [
    ...comparison(e.first),
    ...e.links.flatMap((l) =>
      l.op === 'IS' ? ['IS', ...(l.not ? ['NOT'] : []), 'NULL'] : [l.op, ...comparison(l.to)],
    ),
  ]
  return joined(or.or, (and) => joined(and.and, equality, 'AND'), 'OR')
}

const names = ['a', 'b', 'c', '$x_1', 'Nothing']
const texts = [
  '',
  'x',
  "it's",
  'true',
  'TRUE',
  'false',
  '5',
  '5.0',
  '-7',
  '1e3',
  'Infinity',
  'ä x',
  ' 5 ',
  '9007199254740993',
]
const numbers = ['0', '5', '7', '5L', '2147483648', '9007199254740993', '5.0', '.5', '5.', '1e3', '5.5E0']

/** Random expressions of the whole grammar, most of which RocketMQ refuses for their types. */
export const anyExpression: fc.Arbitrary<Or> = fc.letrec<{ or: Or; unary: Unary; comparison: Comparison }>(
  (tie) => {
    const text = fc.constantFrom(...texts)
    const name = fc.constantFrom(...names)
    const leaf = fc.oneof(
      { arbitrary: fc.record({ name }), weight: 6 },
      { arbitrary: fc.record({ text }), weight: 2 },
      { arbitrary: fc.record({ number: fc.constantFrom(...numbers) }), weight: 3 },
      {
        arbitrary: fc.record({ word: fc.constantFrom('TRUE' as const, 'FALSE' as const, 'NULL' as const) }),
        weight: 1,
      },
    )
    const primary: fc.Arbitrary<Primary> = fc.oneof(
      { maxDepth: 4, depthSize: 'small', depthIdentifier: 'sql' },
      { arbitrary: leaf, weight: 5 },
      { arbitrary: fc.record({ inner: tie('or') }), weight: 2 },
    )
    const unary: fc.Arbitrary<Unary> = fc.oneof(
      { maxDepth: 4, depthIdentifier: 'sql' },
      { arbitrary: fc.record({ primary }), weight: 6 },
      {
        arbitrary: fc.record({
          sign: fc.constantFrom('+' as const, '-' as const, 'NOT' as const),
          of: tie('unary'),
        }),
        weight: 1,
      },
    )
    const not = fc.boolean()
    const link: fc.Arbitrary<Link> = fc.oneof(
      fc.record({
        op: fc.constantFrom('>' as const, '>=' as const, '<' as const, '<=' as const),
        to: tie('unary'),
      }),
      fc.record({
        op: fc.constantFrom('CONTAINS' as const, 'STARTSWITH' as const, 'ENDSWITH' as const),
        not,
        text,
      }),
      fc.record({ op: fc.constant('BETWEEN' as const), not, low: tie('unary'), high: tie('unary') }),
      fc.record({
        op: fc.constant('IN' as const),
        not,
        texts: fc.array(text, { minLength: 1, maxLength: 6 }),
      }),
    )
    const few = { maxLength: 2, size: 'xsmall' } as const
    const comparison = fc.record({ first: tie('unary'), links: fc.array(link, few) })
    const equals = fc.oneof(
      fc.record({ op: fc.constantFrom('=' as const, '<>' as const), to: tie('comparison') }),
      fc.record({ op: fc.constant('IS' as const), not }),
    )
    const equality = fc.record({ first: tie('comparison'), links: fc.array(equals, few) })
    const and = fc.record({ and: fc.array(equality, { minLength: 1, maxLength: 3, size: 'xsmall' }) })
    return {
      unary,
      comparison,
      or: fc.record({ or: fc.array(and, { minLength: 1, maxLength: 3, size: 'xsmall' }) }),
    }
  },
).or

/** Of a message: the property `Nothing` is never there. */
export const anyProperties: fc.Arbitrary<Record<string, string>> = fc
  .record(
    {
      a: fc.constantFrom(...texts),
      b: fc.constantFrom(...texts),
      c: fc.constantFrom(...texts),
      $x_1: fc.constantFrom(...texts),
    },
    { requiredKeys: [] },
  )
  .map((some) => Object.fromEntries(Object.entries(some)) as Record<string, string>)
