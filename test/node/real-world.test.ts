import test from 'ava'
import { consoleLog, realClock, realRandom } from '../../actors/node/real-world.ts'

test('random: stays below its bound, up to the largest', (t) => {
  const random = realRandom(64)
  for (const bound of [1, 2, 7, 2 ** 32, 2 ** 32 + 1, 2 ** 53]) {
    for (let draw = 0; draw < 200; draw++) {
      const drawn = random.below(bound)
      t.true(Number.isSafeInteger(drawn) && drawn >= 0 && drawn < bound)
    }
  }
})

test('random: every face of a die comes up about as often', (t) => {
  const random = realRandom()
  const faces = [0, 0, 0, 0, 0, 0]
  for (let throws = 0; throws < 60_000; throws++) faces[random.below(6)]!++
  // Ten standard deviations: a fair die fails this once in 10^22 runs.
  for (const count of faces) t.true(Math.abs(count - 10_000) < 920)
})

test('random: next is in [0, 1) and ids are 16 digits that do not repeat', (t) => {
  const random = realRandom(32)
  const ids = new Set<string>()
  for (let draw = 0; draw < 1_000; draw++) {
    const next = random.next()
    t.true(next >= 0 && next < 1)
    const id = random.id()
    t.regex(id, /^[0-9a-f]{16}$/)
    ids.add(id)
  }
  t.is(ids.size, 1_000)
})

test('clock: monotonic does not go back', (t) => {
  const before = realClock.monotonic()
  t.true(realClock.monotonic() >= before)
})

function captured(options: Parameters<typeof consoleLog>[0] = {}) {
  const lines: string[] = []
  const at = new Date(2026, 0, 2, 12, 3, 4, 123).getTime()
  const log = consoleLog({ ...options, clock: { now: () => at }, write: (line) => void lines.push(line) })
  return { log, lines }
}

test('log: a line for people has time, level, message and fields that can be split at spaces', (t) => {
  const { log, lines } = captured()
  log.info('broker is ready', {
    broker: 'broker-a',
    epoch: 3,
    reason: 'two words',
    cause: new Error('x'),
    none: undefined,
  })
  log.warn('slow', { big: 10n })
  t.deepEqual(lines, [
    '12:03:04.123 INFO  broker is ready broker=broker-a epoch=3 reason="two words" cause=x\n',
    '12:03:04.123 WARN  slow big=10\n',
  ])
})

test('log: a line for machines is one JSON object', (t) => {
  const { log, lines } = captured({ json: true })
  const circular: Record<string, unknown> = {}
  circular.self = circular
  log.error('lost', { broker: 'broker-a', circular })
  t.like(JSON.parse(lines[0]!), { level: 'error', message: 'lost', broker: 'broker-a' })
})

test('log: a field that is very long is cut, and its length told', (t) => {
  for (const json of [false, true]) {
    const { log, lines } = captured({ json })
    const long = 'x'.repeat(1_000_000)
    log.warn('failed', { error: new Error(long), text: long, list: [long], id: 7 })
    t.true(lines[0]!.length < 10_000)
    t.is(lines[0]!.split('… (1000000 characters)').length, 3)
    t.regex(lines[0]!, /id"?[=:]7/)
  }
})

test('log: lines below its level are not written', (t) => {
  const { log, lines } = captured({ level: 'warn' })
  log.info('no')
  log.error('yes')
  t.is(lines.length, 1)
})
