/** What `npm test` says at its end, from what AVA printed. */
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'

type Result = { passed: number; failed: number; skipped: number; code: number }
type Tally = { read(chunk: string): void; result(code: number): Result }

// The set-up is not compiled: it is there before the compiler is.
const { Tally } = (await import(pathToFileURL(path.resolve('bin', 'setup', 'tally.mjs')).href)) as {
  Tally: new () => Tally
}

/** The text comes in pieces that end anywhere. */
function resultOf(text: string, code: number): Result {
  const tally = new Tally()
  for (let at = 0; at < text.length; at += 7) tally.read(text.slice(at, at + 7))
  return tally.result(code)
}

test('tally: takes the counts that AVA states', (t) => {
  const text =
    '  \u001b[32m✔\u001b[39m a\n  - [skip] b\n  ─\n\n  \u001b[32m12 tests passed\u001b[39m\n  1 test skipped\n'
  t.deepEqual(resultOf(text, 0), { passed: 12, failed: 0, skipped: 1, code: 0 })
})

test('tally: tests, hooks and errors that nobody caught fail together', (t) => {
  const text = '  3 tests passed\n  2 tests failed\n  1 hook failed\n  1 unhandled rejection\n'
  t.deepEqual(resultOf(text, 1), { passed: 3, failed: 4, skipped: 0, code: 1 })
})

test('tally: a test that never ended is a failure', (t) => {
  const text = '  3 tests passed\n  2 tests remained pending after a timeout\n'
  t.deepEqual(resultOf(text, 1), { passed: 3, failed: 2, skipped: 0, code: 1 })
})

test('tally: AVA that dies before its summary is NEVER green', (t) => {
  t.deepEqual(resultOf('  ✔ a\n  ✔ b\n', 134), { passed: 2, failed: 1, skipped: 0, code: 134 })
  t.deepEqual(resultOf('  ✔ a\n  ✘ [fail]: b\n', 1), { passed: 1, failed: 1, skipped: 0, code: 1 })
})

test('tally: a run without a test is NEVER green', (t) => {
  t.deepEqual(resultOf('', 0), { passed: 0, failed: 1, skipped: 0, code: 1 })
})

test('tally: AVA that states a failure is NEVER green, whatever its exit code', (t) => {
  t.deepEqual(resultOf('  3 tests passed\n  1 test failed\n', 0), {
    passed: 3,
    failed: 1,
    skipped: 0,
    code: 1,
  })
})

test('tally: reads what --tap prints', (t) => {
  const text = 'ok 1 - a\nok 2 - b # SKIP\nnot ok 3 - c\n'
  t.deepEqual(resultOf(text, 1), { passed: 1, failed: 1, skipped: 1, code: 1 })
  t.deepEqual(resultOf(`${text}# pass 1\n# fail 1\n# skip 1`, 1), {
    passed: 1,
    failed: 1,
    skipped: 1,
    code: 1,
  })
})
