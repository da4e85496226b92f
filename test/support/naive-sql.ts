/**
 * SQL filters as RocketMQ's classes have them, without a thought of speed: values carry Java's class, what Java throws is
 * thrown. Written from the grammar and the classes, NOT from machines/filter/sql: the two are held against each other.
 *
 * RocketMQ: filter/parser/SelectorParser.jj, filter/expression/*.java
 */
import type { And, Comparison, Equality, Or, Primary, Unary } from './sql-grammar.ts'

/** An instance of a class of Java. */
type J =
  | { is: 'String'; of: string }
  | { is: 'Boolean'; of: boolean }
  | { is: 'Integer' | 'Long'; of: bigint }
  | { is: 'Double'; of: number }
type Message = Record<string, string>
/** `literal`: a ConstantExpression. `condition`: a BooleanExpression. Refused when it is made: thrown. */
type Expression = {
  literal?: { value: J | null }
  condition: boolean
  property?: string
  evaluate(message: Message): J | null
}

const bool = (of: boolean): J => ({ is: 'Boolean', of })
const condition = (evaluate: (message: Message) => J | null): Expression => ({ condition: true, evaluate })
const refuse = (why: string): never => {
  throw new Error(why)
}

export function build(or: Or): Expression {
  return asBoolean(buildOr(or))
}

function buildOr({ or }: Or): Expression {
  return or.map(buildAnd).reduce((left, right) => {
    const [l, r] = [asBoolean(left), asBoolean(right)]
    return condition((message) => {
      const a = l.evaluate(message)
      if (a?.of === true) return bool(true)
      const b = r.evaluate(message)
      if (b?.of === true) return bool(true)
      return a === null || b === null ? null : bool(false)
    })
  })
}

const buildAnd = ({ and }: And): Expression => and.map(buildEquality).reduce(conjunction)

function conjunction(left: Expression, right: Expression): Expression {
  const [l, r] = [asBoolean(left), asBoolean(right)]
  return condition((message) => {
    const a = l.evaluate(message)
    if (a?.of === false) return bool(false)
    const b = r.evaluate(message)
    if (b?.of === false) return bool(false)
    return a === null || b === null ? null : bool(true)
  })
}

function asBoolean(expression: Expression): Expression {
  if (expression.condition) return expression
  if (expression.property === undefined) return refuse('no boolean')
  return condition((message) => (expression.evaluate(message) === null ? null : bool(false)))
}

function negation(of: Expression): Expression {
  return condition((message) => {
    const truth = of.evaluate(message)
    return truth === null ? null : bool(!(truth.of as boolean))
  })
}

const constant = (value: J | null): Expression => ({
  literal: { value },
  condition: value === null || value.is === 'Boolean',
  evaluate: () => value,
})

function equal(left: Expression, right: Expression): Expression {
  return condition((message) => {
    const l = left.evaluate(message)
    const r = right.evaluate(message)
    if (l === null && r === null) return bool(true)
    if (l === null) return null
    if (r === null) return bool(false)
    return bool(compareTo(l, r) === 0)
  })
}

function buildEquality({ first, links }: Equality): Expression {
  let left = buildComparison(first)
  for (const link of links) {
    if (link.op === 'IS') {
      const isNull = equal(left, constant(null))
      left = link.not ? negation(isNull) : isNull
      continue
    }
    const right = buildComparison(link.to)
    for (const side of [left, right]) if (side.literal?.value === null) refuse('equal to null')
    if (left.literal && right.literal && left.condition && !right.condition) refuse('boolean with another')
    const same = equal(left, right)
    left = link.op === '<>' ? negation(same) : same
  }
  return left
}

function ordered(left: Expression, op: '>' | '>=' | '<' | '<=', right: Expression): Expression {
  for (const side of [left, right]) {
    if (side.literal) {
      if (side.literal.value === null || ['String', 'Boolean'].includes(side.literal.value.is))
        refuse('no number')
    } else if (side.condition) refuse('no number')
  }
  return condition((message) => {
    const l = left.evaluate(message)
    if (l === null) return null
    const r = right.evaluate(message)
    if (r === null) return null
    const both = l.is === 'String' && r.is === 'String'
    const d = both ? compareTo(doubleOf(l.of), doubleOf(r.of)) : compareTo(l, r)
    return bool({ '>': d > 0, '>=': d >= 0, '<': d < 0, '<=': d <= 0 }[op])
  })
}

function buildComparison({ first, links }: Comparison): Expression {
  let left = buildUnary(first)
  for (const link of links) {
    const before = left
    if ('to' in link) left = ordered(before, link.op, buildUnary(link.to))
    else if (link.op === 'BETWEEN') {
      const [low, high] = [buildUnary(link.low), buildUnary(link.high)]
      if (link.not) {
        const [below, above] = [ordered(before, '<', low), ordered(before, '>', high)]
        left = condition((message) => {
          const a = below.evaluate(message)
          if (a?.of === true) return bool(true)
          const b = above.evaluate(message)
          if (b?.of === true) return bool(true)
          return a === null || b === null ? null : bool(false)
        })
      } else {
        const [least, most] = [low.literal, high.literal]
        if (least && most) {
          if (least.value === null || most.value === null) refuse('between null')
          if (compareTo(most.value!, least.value!) < 0) refuse('between nothing')
        }
        left = conjunction(ordered(before, '>=', low), ordered(before, '<=', high))
      }
    } else if (link.op === 'IN') {
      const name = before.property ?? refuse('IN of no property')
      left = condition((message) =>
        Object.hasOwn(message, name) ? bool(link.texts.includes(message[name]!) !== link.not) : null,
      )
    } else {
      const { op, text, not } = link
      left = condition((message) => {
        if (text === '') return bool(false)
        const value = before.evaluate(message)
        if (value === null || value.is !== 'String') return bool(false)
        const at = value.of.indexOf(text)
        const last = value.of.lastIndexOf(text)
        const isIn =
          op === 'CONTAINS'
            ? at >= 0
            : op === 'STARTSWITH'
              ? at === 0
              : last >= 0 && last === value.of.length - text.length
        return bool(isIn !== not)
      })
    }
  }
  return left
}

function buildUnary(unary: Unary): Expression {
  if ('primary' in unary) return buildPrimary(unary.primary)
  const of = buildUnary(unary.of)
  if (unary.sign === '+') return of
  if (unary.sign === 'NOT') return negation(asBoolean(of))
  return {
    condition: false,
    evaluate(message) {
      const value = of.evaluate(message)
      if (value === null || value.is === 'String' || value.is === 'Boolean') return null
      return value.is === 'Double' ? { is: 'Double', of: -value.of } : { is: value.is, of: -value.of }
    },
  }
}

function buildPrimary(primary: Primary): Expression {
  if ('inner' in primary) return buildOr(primary.inner)
  if ('text' in primary) return constant({ is: 'String', of: primary.text })
  if ('word' in primary) return constant(primary.word === 'NULL' ? null : bool(primary.word === 'TRUE'))
  if ('number' in primary) return constant(numberOf(primary.number))
  const { name } = primary
  return {
    condition: false,
    property: name,
    evaluate: (message) => (Object.hasOwn(message, name) ? { is: 'String', of: message[name]! } : null),
  }
}

function numberOf(literal: string): J {
  if (/[.eE]/.test(literal)) return { is: 'Double', of: Number.parseFloat(literal) }
  const of = BigInt(literal.replace(/[lL]$/, ''))
  return { is: of <= 2147483647n ? 'Integer' : 'Long', of }
}

function doubleOf(text: string): J {
  const trimmed = text.trim()
  if (!/^[+-]?(Infinity|NaN|\d+(\.\d*)?([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?)$/.test(trimmed))
    throw new Error('no double')
  return { is: 'Double', of: Number(trimmed) }
}

function integerOf(text: string, is: 'Integer' | 'Long'): J {
  if (!/^[+-]?[0-9]+$/.test(text)) throw new Error('no integer')
  const of = BigInt(text.replace('+', ''))
  const most = is === 'Integer' ? 2n ** 31n : 2n ** 63n
  if (of < -most || of >= most) throw new Error('no integer')
  return { is, of }
}

function compareTo(left: J, right: J): number {
  const sign = <T>(a: T, b: T) => (a < b ? -1 : a > b ? 1 : 0)
  if (left.is === right.is) {
    if (left.is !== 'Double') return sign(left.of, (right as typeof left).of)
    const [a, b] = [left.of, right.of as number]
    if (Number.isNaN(a) || Number.isNaN(b)) return sign(Number.isNaN(a) ? 1 : 0, Number.isNaN(b) ? 1 : 0)
    return sign(a, b)
  }
  if (left.is === 'Boolean') {
    if (right.is === 'String') throw new Error('ClassCastException')
    return -1
  }
  if (left.is === 'String') {
    if (right.is === 'Boolean') return sign(left.of.toLowerCase() === 'true', right.of)
    return compareTo(
      right.is === 'Double' ? doubleOf(left.of) : integerOf(left.of, right.is as 'Integer'),
      right,
    )
  }
  if (right.is === 'Boolean') return -1
  if (right.is === 'String')
    return compareTo(left, left.is === 'Double' ? doubleOf(right.of) : integerOf(right.of, left.is))
  if (left.is === 'Double' || right.is === 'Double') return sign(Number(left.of), Number(right.of))
  return sign(left.of, right.of as bigint)
}

/** What RocketMQ's broker makes of it: null when it is not known, or could not be evaluated. */
export function naiveTruth(expression: Expression, message: Message): boolean | null {
  try {
    return (expression.evaluate(message) as { of: boolean } | null)?.of ?? null
  } catch {
    return null
  }
}
