/** What an SQL filter is when it has been parsed: plain JSON, every rule of types already checked. */

export type Order = '>' | '>=' | '<' | '<='

/** Gives a value: a text, a number, a truth, or null. */
export type Operand =
  | { type: 'property'; name: string }
  | { type: 'string'; value: string }
  /** RocketMQ's Integer, Long and Double: what a property is read as depends on the number it is compared with. */
  | { type: 'int' | 'double'; value: number }
  | { type: 'long'; digits: string }
  | { type: 'boolean'; value: boolean }
  | { type: 'null' }
  /** Of a number that is not a literal, or of no number at all: then it is null. */
  | { type: 'negation'; operand: Operand }
  | Condition

/** Gives TRUE, FALSE or null. */
export type Condition =
  | { type: 'and' | 'or'; operands: Operand[] }
  | { type: 'not'; operand: Operand }
  /** A property where a truth is due: null without it, else FALSE, for a property is a text. */
  | { type: 'truth'; operand: Operand }
  | { type: 'equal'; left: Operand; right: Operand }
  | { type: 'order'; operator: Order; left: Operand; right: Operand }
  | { type: 'between'; value: Operand; low: Operand; high: Operand; not: boolean }
  | { type: 'in'; name: string; values: string[]; not: boolean }
  | {
      type: 'match'
      how: 'CONTAINS' | 'STARTSWITH' | 'ENDSWITH'
      operand: Operand
      search: string
      not: boolean
    }
