/** SQL filters: the grammar and the meaning are RocketMQ's, and whatever does not parse says where. */
import test from 'ava'
import fc from 'fast-check'
import { parseExpression } from '../../machines/filter/filter.ts'
import { compileSql } from '../../machines/filter/sql/compiler.ts'
import { parseSql, SQL_LENGTH_MAX } from '../../machines/filter/sql/parser.ts'
import { build, naiveTruth } from '../support/naive-sql.ts'
import { anyExpression, anyProperties, words } from '../support/sql-grammar.ts'

type Message = Record<string, string>

const record = (message: Message) => ({
  tagsCode: 0,
  property: (name: string) => (Object.hasOwn(message, name) ? message[name] : undefined),
})

/** TRUE, FALSE or null; what cannot be evaluated is null too, as at RocketMQ's broker. */
const truth = (sql: string, message: Message = {}): boolean | null =>
  compileSql(parseSql(sql))(record(message)) ?? null

function fault(sql: string): string {
  const parsed = parseExpression(`sql:${sql}`)
  return parsed.ok ? 'it parses' : `${parsed.column}: ${parsed.message}`
}

const order = { price: '12', name: "it's", paid: 'true', half: '12.5', big: '9223372036854775807' }

const table: [what: string, rows: [sql: string, truth: boolean | null][]][] = [
  [
    'a property is compared with an integer as an integer',
    [
      ['price = 12', true],
      ['price <> 12', false],
      ['price > 11', true],
      ['price >= 13', false],
      ['12 < price', false],
      ['price = 12L', true],
      ['price = +12', true],
      ['price > -1', true],
      ['half > 12', null],
      ['name = 12', null],
      ['name <> 12', null],
      ['big = 9223372036854775807', true],
      ['big > 9223372036854775806', true],
      ['big > 12', null],
    ],
  ],
  [
    'a property is compared with a float as a floating number',
    [
      ['half > 12.4', true],
      ['half = 12.50', true],
      ['half < 1.26e1', true],
      ['price = 12.0', true],
      ['price > .5', true],
      ['price > 0.0', true],
      ['name > 1.5', null],
    ],
  ],
  [
    'a property is equal to a text as it stands, and two properties have the order of numbers',
    [
      ["name = 'it''s'", true],
      ["price = '12.0'", false],
      ["price = '12'", true],
      ['half > price', true],
      ['name > price', null],
      ['price = price', true],
    ],
  ],
  [
    'a property is equal to TRUE when it reads true, and TRUE on the left cannot be compared',
    [
      ['paid = TRUE', true],
      ['paid = FALSE', false],
      ['price = FALSE', true],
      ['TRUE = paid', null],
      ['paid', false],
      ['NOT paid', true],
      ['missing', null],
    ],
  ],
  [
    'a missing property is neither equal nor unequal, and what is compared with it on the right is unequal',
    [
      ['missing = 5', null],
      ['missing <> 5', null],
      ["NOT (missing = 'x')", null],
      ["'x' = missing", false],
      ["'x' <> missing", true],
      ['price = missing', false],
      ['missing = absent', true],
      ['missing IS NULL', true],
      ['missing IS NOT NULL', false],
      ['price IS NULL', false],
      ['price IS NOT NULL', true],
      ['missing > 5', null],
      ['missing BETWEEN 1 AND 5', null],
      ["missing IN ('x')", null],
      ["missing NOT IN ('x')", null],
      ["missing CONTAINS 'x'", false],
      ["missing NOT CONTAINS 'x'", false],
    ],
  ],
  [
    'what is not known decides only where nothing else does',
    [
      ['missing = 5 OR price = 12', true],
      ['missing = 5 OR price = 13', null],
      ['missing = 5 AND price = 13', false],
      ['missing = 5 AND price = 12', null],
      ['NOT (missing = 5)', null],
      ['TRUE OR NULL', true],
      ['FALSE AND NULL', false],
      ['NULL', null],
      ['NULL IS NULL', true],
      ['(missing = 5) IS NULL', true],
    ],
  ],
  [
    'a property that cannot be compared ends the whole filter, unless it was decided before',
    [
      ['name = 5 OR price = 12', null],
      ['price = 12 OR name = 5', true],
      ['name = 5 AND price = 13', null],
      ['price = 13 AND name = 5', false],
      ['(name = 5) IS NULL', null],
      ['NOT (name = 5)', null],
    ],
  ],
  [
    'BETWEEN takes both bounds in, NOT BETWEEN neither',
    [
      ['price BETWEEN 12 AND 13', true],
      ['price BETWEEN 11 AND 12', true],
      ['price NOT BETWEEN 12 AND 13', false],
      ['price NOT BETWEEN 13 AND 20', true],
      ['price NOT BETWEEN 20 AND 13', true],
      ['price BETWEEN -5 AND -9', false],
      ['price BETWEEN price AND half', true],
      ['price BETWEEN 13 AND missing', false],
      ['price BETWEEN missing AND 11', false],
      ['price BETWEEN missing AND 13', null],
    ],
  ],
  [
    'IN, CONTAINS, STARTSWITH and ENDSWITH look at texts, and an empty text is in nothing',
    [
      ["price IN ('11', '12')", true],
      ["price NOT IN ('11', '12')", false],
      ["name CONTAINS 't'''", true],
      ["name STARTSWITH 'it'", true],
      ["name ENDSWITH 's'", true],
      ["name NOT STARTSWITH 'it'", false],
      ["name NOT ENDSWITH 'x'", true],
      ["name CONTAINS ''", false],
      ["name NOT CONTAINS ''", false],
      ["12 CONTAINS '1'", false],
      ["'12' CONTAINS '1'", true],
    ],
  ],
  [
    'AND binds more strongly than OR, and NOT to the one operand behind it',
    [
      ['TRUE OR FALSE AND FALSE', true],
      ['(TRUE OR FALSE) AND FALSE', false],
      ['NOT TRUE OR TRUE', true],
      ['NOT (TRUE OR TRUE)', false],
      ['NOT NOT TRUE', true],
      ['NOT paid = FALSE', false],
      ['price > 5 = TRUE', true],
    ],
  ],
  [
    'words are keywords in any case, and comments are blanks',
    [
      ['price bEtWeEn 1 aNd 20', true],
      ['price/* a * comment **/=/**/12', true],
      ['price = -- a comment\n 12', true],
      ['price = 12 -- a comment', true],
      ['price = --12', true],
      ['price\t=\f12\r\n', true],
      ['$none_1 IS NULL', true],
      ['BetweenTwo IS NULL', true],
    ],
  ],
  [
    'a sign makes a number negative, and a text nothing',
    [
      ['-price IS NULL', true],
      ["-'5' IS NULL", true],
      ['price > - -11', true],
      ['-(-5) = 5', true],
      ['-5 = 5', false],
    ],
  ],
]
for (const [what, rows] of table) {
  test(`sql: ${what}`, (t) => {
    for (const [sql, expected] of rows) t.is(truth(sql, order), expected, sql)
  })
}

const faults: [what: string, rows: [sql: string, fault: string][]][] = [
  [
    'what is not finished says what is missing and where',
    [
      [
        '',
        '1: expected the name of a property, a text in single quotes, a number, TRUE, FALSE or NULL, found the end',
      ],
      [
        'a >',
        '4: expected the name of a property, a text in single quotes, a number, TRUE, FALSE or NULL, found the end',
      ],
      ['(a = 5', "7: expected an operator or ')', found the end"],
      ['a IS', '5: expected NULL or NOT NULL, found the end'],
      ['a IS NOT 5', '10: expected NULL, found 5'],
      ["a IN 'x'", "6: expected a list of texts in parentheses after IN, found 'x'"],
      ["a IN ('x' 'y')", "11: expected ',' or ')', found 'y'"],
      ['a IN (5)', '7: expected a text in single quotes, found 5'],
      ['a CONTAINS b', '12: expected a text in single quotes after CONTAINS, found b'],
      ['a BETWEEN 5', '12: expected AND and the upper bound of BETWEEN, found the end'],
      ['a NOT 5', '7: expected CONTAINS, STARTSWITH, ENDSWITH, BETWEEN or IN after NOT, found 5'],
    ],
  ],
  [
    'what follows a whole filter is refused',
    [
      ['a = 5 b = 6', '7: expected an operator, AND, OR or the end, found b'],
      ['a = 5)', '6: expected an operator, AND, OR or the end, found )'],
      [
        "a LIKE 'x%'",
        '3: expected an operator, AND, OR or the end, found LIKE: there is no LIKE, use CONTAINS, STARTSWITH or ENDSWITH',
      ],
      ['a = 007', '6: expected an operator, AND, OR or the end, found 0'],
    ],
  ],
  [
    'what is no word says so',
    [
      ['a = "x"', '5: "\\"" is no part of an SQL filter: strings stand in single quotes: \'text\''],
      ['a != 5', '3: "!" is no part of an SQL filter: \'not equal\' is written <>'],
      ['a == 5', "4: expected a value: 'equal' is written with one =, found ="],
      ["a = 'x", "5: the string that begins here has no end: close it with '"],
      ["a = 'x''", "8: the string that begins here has no end: close it with '"],
      ['a = 5 /* x', '7: the comment that begins here has no end: close it with */'],
      ['ä = 5', '1: "ä" is no part of an SQL filter'],
      ['a = 🙂', '5: "🙂" is no part of an SQL filter'],
    ],
  ],
  [
    'what its types make never true is refused',
    [
      ["a > 'x'", "5: > compares numbers, and the text 'x' is none"],
      ['TRUE < a', '1: < compares numbers, and TRUE is none'],
      ["a BETWEEN 'a' AND 'b'", "11: BETWEEN compares numbers, and the text 'a' is none"],
      ['a BETWEEN 9 AND 5', '11: the first bound of BETWEEN is above the second: nothing lies between them'],
      ['NOT a > 5', '1: NOT binds to what stands right behind it: write NOT (… > …)'],
      ['a > 5 > 6', '1: > compares numbers, and a condition is none'],
      ['a = NULL', "5: nothing is equal to NULL: write 'IS NULL'"],
      ['NULL <> a', "1: nothing is equal to NULL: write 'IS NULL'"],
      ['TRUE = 5', '8: TRUE and FALSE cannot be compared with a text or a number'],
      ["5 IN ('5')", '1: IN needs the name of a property before it, not a number'],
      ["'x'", "1: expected a condition such as a = 'x', found the text 'x', which is never true"],
      ['a = 5 AND 6', "11: expected a condition such as a = 'x', found a number, which is never true"],
      ['NOT -a', "5: expected a condition such as a = 'x', found a number, which is never true"],
      [
        'a = 9223372036854775808',
        '5: 9223372036854775808 is larger than 9223372036854775807, the largest integer',
      ],
      ['a = 1e999', '5: 1e999 is outside the range of floating numbers'],
      ['a = 1e-999', '5: 1e-999 is outside the range of floating numbers'],
    ],
  ],
]
for (const [what, rows] of faults) {
  test(`sql: ${what}`, (t) => {
    for (const [sql, expected] of rows) t.is(fault(sql), expected, sql)
  })
}

test('sql: an expression may be as long as is allowed, and no longer', (t) => {
  const chain = (terms: number) => Array.from({ length: terms }, () => 'a = 5').join(' OR ')
  t.is(fault(chain(1_800)), 'it parses')
  t.is(truth(chain(1_800), { a: '5' }), true)
  t.regex(
    fault(chain(12_000)),
    /^16385: the SQL filter has \d+ characters, more than 16384: make it shorter$/,
  )
  t.is(fault(`a = '${'x'.repeat(SQL_LENGTH_MAX - 6)}'`), 'it parses')
})

test('sql: ten thousand of anything inside one another are refused, not a crash', (t) => {
  const deep =
    (before: string, middle: string, after = '') =>
    (times: number) =>
      before.repeat(times) + middle + after.repeat(times)
  const shapes = [
    deep('(', 'a = 5', ')'),
    deep('NOT ', 'a'),
    deep('- ', '5'),
    deep('+', '5'),
    deep('', 'a', '=a'),
    deep('', 'a', ' IS NULL'),
    deep('', 'a', " CONTAINS'x'"),
    deep('-(', '5', ')BETWEEN 1 AND 2'),
  ]
  for (const shape of shapes) {
    t.regex(fault(shape(10_000)), /^\d+: /)
    t.regex(fault(shape(800)), /^\d+: more than 256 /, shape(3))
    t.regex(fault(shape(100)), /^(it parses|\d+: (?!more than))/, shape(3))
  }
})

test('sql: hundreds of them side by side are taken', (t) => {
  for (const term of ['(a = 5)', 'NOT(a = 5)', 'a > -5', '(a = 5) = TRUE'])
    t.is(fault(Array.from({ length: 800 }, () => term).join(' OR ')), 'it parses', term)
})

test('sql: one that asks for much within itself is decided in time', (t) => {
  let sql = '-a'
  for (let depth = 0; depth < 100; depth++) sql = `-(${sql} BETWEEN 1 AND 2)`
  t.is(truth(`(${sql}) IS NULL`, { a: '1' }), true)
})

const blanks = fc.constantFrom(' ', '  ', '\n', '/**/', ' /* - * / */ ', '\t--x\n')

test('sql: says of every expression what RocketMQ says, and refuses what RocketMQ refuses', (t) => {
  let decided = 0
  let accepted = 0
  fc.assert(
    fc.property(
      anyExpression,
      blanks,
      fc.boolean(),
      fc.array(anyProperties, { minLength: 6, maxLength: 6 }),
      (tree, blank, lower, messages) => {
        const sql = words(tree)
          .map((word) => (lower && /^[A-Z]+$/.test(word) ? word.toLowerCase() : word))
          .join(blank)
        let naive: ReturnType<typeof build> | null = null
        try {
          naive = build(tree)
        } catch {}
        const parsed = parseExpression(`sql:${sql}`)
        if (parsed.ok !== (naive !== null))
          throw new Error(`${sql}: ${fault(sql)}, RocketMQ ${naive ? 'takes' : 'refuses'} it`)
        if (naive === null) return
        accepted++
        for (const message of messages) {
          const expected = naiveTruth(naive, message)
          if (truth(sql, message) !== expected) {
            throw new Error(`${sql} of ${JSON.stringify(message)} is ${truth(sql, message)}, not ${expected}`)
          }
          if (expected !== null) decided++
        }
      },
    ),
    { numRuns: 20_000 },
  )
  t.log(`${accepted} expressions were taken; ${decided} answers were TRUE or FALSE`)
  t.true(accepted > 2_000 && decided > 5_000)
})

test('sql: no text crashes it, and each that is refused has its column', (t) => {
  const word = fc.constantFrom(
    ...[
      'NOT',
      'AND',
      'OR',
      'BETWEEN',
      'IN',
      'TRUE',
      'NULL',
      'IS',
      'CONTAINS',
      '(',
      ')',
      ',',
      '=',
      '<>',
      '>',
      '<=',
    ],
    ...[
      'a',
      'b',
      "'x'",
      "'",
      '5',
      '5.5',
      '5L',
      '.',
      '-',
      '--',
      '+',
      '/*',
      '*/',
      '\n',
      '\u0000',
      '\ud800',
      '"',
    ],
  )
  const soup = fc.array(word, { maxLength: 30 }).map((list) => list.join(' '))
  const anyBytes = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString('utf8'))
  fc.assert(
    fc.property(fc.oneof(soup, anyBytes, fc.string({ unit: 'binary' })), anyProperties, (sql, message) => {
      for (const text of [sql, `sql:${sql}`]) {
        const parsed = parseExpression(text)
        if (parsed.ok) parsed.filter?.(record(message))
        else if (parsed.column < 1 || parsed.column > text.length + 1 || parsed.message === '') return false
      }
      return true
    }),
    { numRuns: 20_000 },
  )
  t.pass()
})
