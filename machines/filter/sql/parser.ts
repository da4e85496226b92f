/**
 * Parser of SQL filters: a word decides what it is when nothing stands before it, and how strongly it binds to what does.
 *
 *   OR  <  AND  <  = <> IS  <  > >= < <= BETWEEN IN CONTAINS …  <  NOT + -
 *
 * NOT binds to the ONE operand behind it, as in RocketMQ: `NOT (a > 5)` needs its parentheses, and is told so without.
 * What cannot be true for any message because of its types is refused here, as RocketMQ refuses it.
 *
 * Three things RocketMQ does otherwise, each by accident of its parser: it ignores everything behind a whole expression
 * (we refuse that: half a filter is another filter), it refuses the literal 0.0, and it falls over deep nesting.
 *
 * RocketMQ: filter/parser/SelectorParser.jj, filter/expression/ComparisonExpression.java
 */
import type { Condition, Operand, Order } from './syntax.ts'
import { SqlFault, type Token, tokenAt } from './tokens.ts'
import { compare, type NumberOf, readLong } from './values.ts'

/** In characters; far more than anybody writes, and short enough to travel with every pull. */
export const SQL_LENGTH_MAX = 16 * 1024
/** Parentheses and signs inside one another, and operators in a chain: each takes a piece of the stack. */
const DEPTH_MAX = 256

const OR = 1
const AND = 2
const EQUALITY = 3
const ORDER = 4

const searches = ['CONTAINS', 'STARTSWITH', 'ENDSWITH'] as const
const powers: Record<string, number> = {
  ...{ OR, AND, '=': EQUALITY, '<>': EQUALITY, IS: EQUALITY },
  ...{ '>': ORDER, '>=': ORDER, '<': ORDER, '<=': ORDER, BETWEEN: ORDER, IN: ORDER, NOT: ORDER },
  ...{ CONTAINS: ORDER, STARTSWITH: ORDER, ENDSWITH: ORDER },
}

/** Throws SqlFault. */
export function parseSql(text: string): Operand {
  if (text.length > SQL_LENGTH_MAX) {
    const message = `the SQL filter has ${text.length} characters, more than ${SQL_LENGTH_MAX}: make it shorter`
    throw new SqlFault(message, SQL_LENGTH_MAX)
  }
  return new Parser(text).whole()
}

class Parser {
  readonly #text: string
  #token: Token
  #depth = 0
  #links = 0

  constructor(text: string) {
    this.#text = text
    this.#token = tokenAt(text, 0)
  }

  whole(): Operand {
    const { at } = this.#token
    const expression = this.#truthOf(this.#expression(OR), at)
    // No `-` can follow an expression: two of them begin a comment that nothing ends.
    if (this.#token.kind === 'end' || this.#text.startsWith('--', this.#token.at)) return expression
    throw this.#expected('an operator, AND, OR or the end')
  }

  #next(): Token {
    const token = this.#token
    this.#token = tokenAt(this.#text, token.at + token.text.length)
    return token
  }

  #take(kind: string, what: string): Token {
    if (this.#token.kind !== kind) throw this.#expected(what)
    return this.#next()
  }

  #expected(what: string): SqlFault {
    const { kind, text, at } = this.#token
    const hint = /^(LIKE|REGEXP|MATCHES)$/i.test(text)
      ? `: there is no ${text.toUpperCase()}, use CONTAINS, STARTSWITH or ENDSWITH`
      : ''
    return new SqlFault(`expected ${what}, found ${kind === 'end' ? 'the end' : shown(text)}${hint}`, at)
  }

  #deeper(at: number): void {
    if (++this.#depth > DEPTH_MAX) {
      throw new SqlFault(`more than ${DEPTH_MAX} parentheses and signs inside one another`, at)
    }
  }

  #expression(power: number): Operand {
    const start = this.#token.at
    let left = this.#operand()
    for (let links = 0; ; links++) {
      const { kind, at } = this.#token
      const own = powers[kind] ?? 0
      if (own < power || own === 0) return left
      if (own >= EQUALITY && links > 0 && ++this.#links > DEPTH_MAX) {
        throw new SqlFault(`more than ${DEPTH_MAX} comparisons chained to one another`, at)
      }
      if (kind === 'OR' || kind === 'AND') left = this.#logic(left, start, kind === 'OR' ? 'or' : 'and', own)
      else left = own === EQUALITY ? this.#equality(left, start) : this.#comparison(left, start)
    }
  }

  /** All operands of one chain: they are decided from left to right, without a step of the stack for each. */
  #logic(left: Operand, start: number, type: 'and' | 'or', power: number): Condition {
    const operands = [this.#truthOf(left, start)]
    while (powers[this.#token.kind] === power) {
      this.#next()
      const { at } = this.#token
      operands.push(this.#truthOf(this.#expression(power + 1), at))
    }
    return { type, operands }
  }

  #equality(left: Operand, start: number): Condition {
    const operator = this.#next()
    if (operator.kind === 'IS') {
      const not = this.#token.kind === 'NOT'
      if (not) this.#next()
      this.#take('NULL', not ? 'NULL' : 'NULL or NOT NULL')
      return negated({ type: 'equal', left, right: { type: 'null' } }, not)
    }
    if (this.#token.kind === '=') throw this.#expected("a value: 'equal' is written with one =")
    const { at } = this.#token
    const right = this.#expression(ORDER)
    for (const [operand, where] of [
      [left, start],
      [right, at],
    ] as const) {
      if (operand.type === 'null') throw new SqlFault("nothing is equal to NULL: write 'IS NULL'", where)
    }
    if (left.type === 'boolean' && isLiteral(right) && right.type !== 'boolean') {
      throw new SqlFault('TRUE and FALSE cannot be compared with a text or a number', at)
    }
    return negated({ type: 'equal', left, right }, operator.kind === '<>')
  }

  #comparison(left: Operand, start: number): Condition {
    const operator = this.#next()
    const { kind } = operator
    if (kind === '>' || kind === '>=' || kind === '<' || kind === '<=') return this.#order(left, start, kind)
    const not = kind === 'NOT'
    const what = not ? this.#next() : operator
    if (what.kind === 'BETWEEN') return this.#between(left, start, not)
    if (what.kind === 'IN') return this.#in(left, start, not)
    const how = searches.find((search) => search === what.kind)
    if (how !== undefined) {
      const search = textOf(this.#take('string', `a text in single quotes after ${how}`))
      return { type: 'match', how, operand: left, search, not }
    }
    this.#token = what
    throw this.#expected('CONTAINS, STARTSWITH, ENDSWITH, BETWEEN or IN after NOT')
  }

  #order(left: Operand, start: number, operator: Order): Condition {
    checkOrdered(left, start, operator)
    const { at } = this.#token
    const right = this.#operand()
    checkOrdered(right, at, operator)
    return { type: 'order', operator, left, right }
  }

  #between(value: Operand, start: number, not: boolean): Condition {
    checkOrdered(value, start, 'BETWEEN')
    const lowAt = this.#token.at
    const low = this.#operand()
    checkOrdered(low, lowAt, 'BETWEEN')
    this.#take('AND', 'AND and the upper bound of BETWEEN')
    const highAt = this.#token.at
    const high = this.#operand()
    checkOrdered(high, highAt, 'BETWEEN')
    const [least, most] = [numberOf(low), numberOf(high)]
    if (!not && least !== null && most !== null && compare(most, least)! < 0) {
      throw new SqlFault('the first bound of BETWEEN is above the second: nothing lies between them', lowAt)
    }
    return { type: 'between', value, low, high, not }
  }

  #in(left: Operand, start: number, not: boolean): Condition {
    if (left.type !== 'property') {
      throw new SqlFault(`IN needs the name of a property before it, not ${what(left)}`, start)
    }
    this.#take('(', 'a list of texts in parentheses after IN')
    const values: string[] = []
    do {
      if (values.length > 0) this.#next()
      values.push(textOf(this.#take('string', 'a text in single quotes')))
    } while (this.#token.kind === ',')
    this.#take(')', "',' or ')'")
    return { type: 'in', name: left.name, values, not }
  }

  /** One operand with the signs before it. */
  #operand(): Operand {
    const token = this.#token
    switch (token.kind) {
      case '+':
      case '-':
      case 'NOT': {
        this.#next()
        this.#deeper(token.at)
        const { at } = this.#token
        const operand = this.#operand()
        this.#depth--
        if (token.kind === '+') return operand
        if (token.kind === '-') return { type: 'negation', operand }
        return { type: 'not', operand: this.#truthOf(operand, at) }
      }
      case '(': {
        this.#next()
        this.#deeper(token.at)
        const inner = this.#expression(OR)
        this.#depth--
        this.#take(')', "an operator or ')'")
        return inner
      }
      case 'name':
        this.#next()
        return { type: 'property', name: token.text }
      case 'string':
        return { type: 'string', value: textOf(this.#next()) }
      case 'decimal':
        return integerOf(this.#next())
      case 'float':
        return floatOf(this.#next())
      case 'TRUE':
      case 'FALSE':
        this.#next()
        return { type: 'boolean', value: token.kind === 'TRUE' }
      case 'NULL':
        this.#next()
        return { type: 'null' }
      default:
        throw this.#expected('the name of a property, a text in single quotes, a number, TRUE, FALSE or NULL')
    }
  }

  #truthOf(operand: Operand, at: number): Operand {
    if (operand.type === 'property') return { type: 'truth', operand }
    if (isCondition(operand) || operand.type === 'boolean' || operand.type === 'null') return operand
    throw new SqlFault(
      `expected a condition such as a = 'x', found ${what(operand)}, which is never true`,
      at,
    )
  }
}

const negated = (condition: Condition, not: boolean): Condition =>
  not ? { type: 'not', operand: condition } : condition

const shown = (text: string): string => (text.length > 40 ? `${text.slice(0, 40)}…` : text)

const isLiteral = ({ type }: Operand): boolean =>
  ['string', 'int', 'long', 'double', 'boolean', 'null'].includes(type)

const isCondition = (operand: Operand): boolean =>
  operand.type !== 'property' && operand.type !== 'negation' && !isLiteral(operand)

function what(operand: Operand): string {
  if (operand.type === 'property') return `the property ${operand.name}`
  if (operand.type === 'string') return `the text '${shown(operand.value)}'`
  if (operand.type === 'boolean') return operand.value ? 'TRUE' : 'FALSE'
  if (operand.type === 'null') return 'NULL'
  return isCondition(operand) ? 'a condition' : 'a number'
}

/** RocketMQ: only what may be a number has an order; a property may. */
function checkOrdered(operand: Operand, at: number, operator: string): void {
  if (operand.type === 'not') {
    throw new SqlFault(`NOT binds to what stands right behind it: write NOT (… ${operator} …)`, at)
  }
  if (
    operand.type === 'string' ||
    operand.type === 'boolean' ||
    operand.type === 'null' ||
    isCondition(operand)
  )
    throw new SqlFault(`${operator} compares numbers, and ${what(operand)} is none`, at)
}

const textOf = ({ text }: Token): string => text.slice(1, -1).replaceAll("''", "'")

function integerOf({ text, at }: Token): Operand {
  const digits = /l$/i.test(text) ? text.slice(0, -1) : text
  if (readLong(digits) === undefined) {
    throw new SqlFault(`${shown(digits)} is larger than 9223372036854775807, the largest integer`, at)
  }
  const value = Number(digits)
  return value < 2 ** 31 ? { type: 'int', value } : { type: 'long', digits }
}

function floatOf({ text, at }: Token): Operand {
  const value = Number(text)
  if (value === Number.POSITIVE_INFINITY || (value === 0 && /[1-9]/.test(text.replace(/e.*/i, '')))) {
    throw new SqlFault(`${shown(text)} is outside the range of floating numbers`, at)
  }
  return { type: 'double', value }
}

/** The number of a literal, null for anything else. */
export function numberOf(operand: Operand): NumberOf | null {
  if (operand.type === 'int' || operand.type === 'double') return operand
  return operand.type === 'long' ? { type: 'long', value: readLong(operand.digits)! } : null
}
