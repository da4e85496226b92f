/**
 * Values as RocketMQ compares them: a property is a text and is read as what it is compared with.
 *
 * Beside an integer literal the property must be an integer of its width, beside a float a floating number; one that
 * cannot be read makes the whole filter fail for that message, which is then NEVER delivered, whatever else holds.
 *
 * RocketMQ: filter/expression/ComparisonExpression.java
 */

/** A literal number; `long` is a bigint when a double could not hold it. */
export type NumberOf = { readonly type: 'int' | 'long' | 'double'; readonly value: number | bigint }
export type Value = string | boolean | NumberOf | null

/** Below 0, 0 or above; undefined: they cannot be compared. BEFORE: neither is null. */
export function compare(left: Exclude<Value, null>, right: Exclude<Value, null>): number | undefined {
  if (typeof left === 'string') {
    if (typeof right === 'string') return left === right ? 0 : left < right ? -1 : 1
    if (typeof right === 'boolean') return isTrue(left) === right ? 0 : right ? -1 : 1
    const number = read(left, right.type)
    return number === undefined ? undefined : compareNumbers(number, right.value)
  }
  if (typeof left === 'boolean') {
    if (typeof right === 'boolean') return left === right ? 0 : right ? -1 : 1
    return typeof right === 'string' ? undefined : -1
  }
  if (typeof right === 'boolean') return -1
  if (typeof right === 'string') {
    const number = read(right, left.type)
    return number === undefined ? undefined : compareNumbers(left.value, number)
  }
  if (left.type === 'double' || right.type === 'double')
    return compareNumbers(Number(left.value), Number(right.value))
  return compareNumbers(left.value, right.value)
}

/** Of `>`, `>=`, `<` and `<=`: two texts are compared as numbers. BEFORE: neither is null. */
export function compareInOrder(left: Exclude<Value, null>, right: Exclude<Value, null>): number | undefined {
  if (typeof left !== 'string' || typeof right !== 'string') return compare(left, right)
  const a = readDouble(left)
  const b = readDouble(right)
  return a === undefined || b === undefined ? undefined : compareNumbers(a, b)
}

/** As Java's Double does: NaN is above all and equal to itself, -0 is below 0. */
function compareNumbers(left: number | bigint, right: number | bigint): number {
  if (left < right) return -1
  if (left > right) return 1
  if (typeof left === 'bigint' || typeof right === 'bigint' || Object.is(left, right)) return 0
  if (left === 0 && right === 0) return Object.is(left, -0) ? -1 : 1
  return Number.isNaN(left) ? 1 : -1
}

const isTrue = (text: string): boolean => text.length === 4 && text.toLowerCase() === 'true'

function read(text: string, type: NumberOf['type']): number | bigint | undefined {
  if (type === 'double') return readDouble(text)
  if (!integer.test(text)) return undefined
  const number = Number(text) + 0 // An integer has no -0.
  if (type === 'int') return number >= -(2 ** 31) && number < 2 ** 31 ? number : undefined
  return Number.isSafeInteger(number) ? number : readLong(text)
}

const integer = /^[+-]?\d+$/
const LONG_END = 2n ** 63n

/** An integer of 64 bits, exactly; undefined when it is larger. */
export function readLong(text: string): number | bigint | undefined {
  if (Math.abs(Number(text)) > 2 ** 63) return undefined
  const number = BigInt(text.startsWith('+') ? text.slice(1) : text)
  if (number < -LONG_END || number >= LONG_END) return undefined
  return number >= Number.MIN_SAFE_INTEGER && number <= Number.MAX_SAFE_INTEGER ? Number(number) : number
}

const double = /^[+-]?(?:NaN|Infinity|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fFdD]?)$/
const outerBlanks = /^[\0- ]+|[\0- ]+$/g

/** As Java's Double.valueOf, without its hexadecimal form; digits are ASCII, here and above. */
function readDouble(text: string): number | undefined {
  const trimmed = isPlain(text) ? text : text.replace(outerBlanks, '')
  if (!double.test(trimmed)) return undefined
  const last = trimmed.charCodeAt(trimmed.length - 1) | 32
  // The y of Infinity and the N of NaN are neither f nor d.
  return Number(last === 102 || last === 100 ? trimmed.slice(0, -1) : trimmed)
}

const isPlain = (text: string): boolean =>
  text.length > 0 && text.charCodeAt(0) > 32 && text.charCodeAt(text.length - 1) > 32
