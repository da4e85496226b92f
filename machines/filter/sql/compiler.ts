/**
 * From a parsed SQL filter to a function of a message's properties.
 *
 * Three values, as in SQL: TRUE, FALSE, and null for what is not known. A fourth, undefined, is RocketMQ's evaluation
 * error (a property that is no number beside a number, say): it ends the whole filter, and the message is NOT delivered.
 *
 * RocketMQ: filter/expression/*.java
 */
import { numberOf } from './parser.ts'
import type { Condition, Operand, Order } from './syntax.ts'
import { compare, compareInOrder, type NumberOf, type Value } from './values.ts'

/** The message at hand: `property` gives undefined when it has none of that name. */
export type Properties = { property(name: string): string | undefined }
export type Truth = boolean | null | undefined

type Decide = (record: Properties) => Truth
type Evaluate = (record: Properties) => Value | undefined

/** TRUE, FALSE, null, or undefined when it cannot be decided. BEFORE: `parseSql` gave it. */
export function compileSql(expression: Operand): Decide {
  return decision(expression)
}

function decision(operand: Operand): Decide {
  switch (operand.type) {
    case 'and':
      return junction(operand.operands.map(decision), false)
    case 'or':
      return junction(operand.operands.map(decision), true)
    case 'not': {
      const decide = decision(operand.operand)
      return (record) => {
        const truth = decide(record)
        return typeof truth === 'boolean' ? !truth : truth
      }
    }
    case 'truth': {
      const evaluate = evaluation(operand.operand)
      return (record) => {
        const value = evaluate(record)
        return value === null || value === undefined ? value : false
      }
    }
    case 'equal':
      return equality(operand.left, operand.right)
    case 'order':
      return order(operand)
    case 'between':
      return between(operand)
    case 'in':
      return membership(operand)
    case 'match':
      return search(operand)
    case 'boolean':
      return () => operand.value
    default:
      return () => null
  }
}

/** AND and OR: `ends` decides at once; else what is not known makes the whole unknown. */
function junction(decisions: readonly Decide[], ends: boolean): Decide {
  return (record) => {
    let result: Truth = !ends
    for (let i = 0; i < decisions.length; i++) {
      const truth = decisions[i]!(record)
      if (truth === ends || truth === undefined) return truth
      if (truth === null) result = null
    }
    return result
  }
}

/** RocketMQ's, not SQL's: a missing LEFT side is unknown, a missing right side FALSE, and two missing ones are equal. */
function equality(left: Operand, right: Operand): Decide {
  if (left.type === 'property' && right.type === 'string') {
    const { name } = left
    const { value } = right
    return (record) => {
      const found = record.property(name)
      return found === undefined ? null : found === value
    }
  }
  const leftOf = evaluation(left)
  const rightOf = evaluation(right)
  return (record) => {
    const a = leftOf(record)
    if (a === undefined) return undefined
    const b = rightOf(record)
    if (b === undefined) return undefined
    if (a === null) return b === null ? true : null
    if (b === null) return false
    const difference = compare(a, b)
    return difference === undefined ? undefined : difference === 0
  }
}

const holds = (operator: Order, difference: number): boolean => {
  switch (operator) {
    case '>':
      return difference > 0
    case '>=':
      return difference >= 0
    case '<':
      return difference < 0
    default:
      return difference <= 0
  }
}

function order({ operator, left, right }: Extract<Condition, { type: 'order' }>): Decide {
  const leftOf = evaluation(left)
  const rightOf = evaluation(right)
  return (record) => inOrder(operator, leftOf(record), rightOf, record)
}

function inOrder(operator: Order, value: Value | undefined, other: Evaluate, record: Properties): Truth {
  if (value === null || value === undefined) return value
  const bound = other(record)
  if (bound === null || bound === undefined) return bound
  const difference = compareInOrder(value, bound)
  return difference === undefined ? undefined : holds(operator, difference)
}

function between({ value, low, high, not }: Extract<Condition, { type: 'between' }>): Decide {
  const middleOf = evaluation(value)
  const lowOf = evaluation(low)
  const highOf = evaluation(high)
  return (record) => {
    const found = middleOf(record)
    const first = inOrder(not ? '<' : '>=', found, lowOf, record)
    if (first === not || first === undefined) return first
    const second = inOrder(not ? '>' : '<=', found, highOf, record)
    if (second === not || second === undefined) return second
    return first === null ? null : second
  }
}

function membership({ name, values, not }: Extract<Condition, { type: 'in' }>): Decide {
  const wanted = new Set(values)
  return (record) => {
    const found = record.property(name)
    return found === undefined ? null : wanted.has(found) !== not
  }
}

function search({ how, operand, search, not }: Extract<Condition, { type: 'match' }>): Decide {
  if (search === '') return () => false // With NOT as well.
  const evaluate = evaluation(operand)
  const isIn =
    how === 'CONTAINS'
      ? (text: string) => text.includes(search)
      : how === 'STARTSWITH'
        ? (text: string) => text.startsWith(search)
        : (text: string) => text.endsWith(search)
  return (record) => {
    const value = evaluate(record)
    if (value === undefined) return undefined
    return typeof value === 'string' && isIn(value) !== not
  }
}

function evaluation(operand: Operand): Evaluate {
  switch (operand.type) {
    case 'property': {
      const { name } = operand
      return (record) => record.property(name) ?? null
    }
    case 'string': {
      const { value } = operand
      return () => value
    }
    case 'int':
    case 'long':
    case 'double': {
      const number = numberOf(operand)
      return () => number
    }
    case 'negation':
      return negation(operand.operand)
    default:
      return decision(operand)
  }
}

/** A property is a text, so its negation is null, as in RocketMQ. */
function negation(operand: Operand): Evaluate {
  const number = negative(operand, true)
  if (number !== null) return () => number
  const evaluate = evaluation(operand)
  return (record) => (evaluate(record) === undefined ? undefined : null)
}

function negative(operand: Operand, isNegative: boolean): NumberOf | null {
  if (operand.type === 'negation') return negative(operand.operand, !isNegative)
  const number = numberOf(operand)
  if (number === null || !isNegative) return number
  // An integer has no -0, a floating number has.
  const { type, value } = number
  return { type, value: type !== 'double' && value === 0 ? 0 : -value }
}
