/** Receipt handles: text that comes back as it was made, and all other text refused. */
import test from 'ava'
import fc from 'fast-check'
import { handleOf, handleText } from '../../../actors/consumer/simple/receipt-handle.ts'

const name = fc.stringMatching(/^[%|a-zA-Z0-9_-]{1,60}$/)
const handle = fc.record({
  brokerName: fc.stringMatching(/^[a-zA-Z0-9_-]{1,60}$/),
  group: name,
  topic: name,
  queueId: fc.nat(65_535),
  offset: fc.maxSafeNat(),
  attempt: fc.nat(65_535),
  token: fc.maxSafeNat(),
})

test('receipt handle: text says what it was made of', (t) => {
  fc.assert(fc.property(handle, (made) => void t.deepEqual(handleOf(handleText(made)), made)))
})

test('receipt handle: text that is none is refused with INVALID_RECEIPT_HANDLE, whatever it is', (t) => {
  const text = (value: string) => Buffer.from(value).toString('base64url')
  const wrong: unknown[] = [
    ...['', ' ', 'x', '💥', 'a'.repeat(100_000), null, undefined, 7, {}, [], Buffer.from('x')],
    ...[text('a g t 1 2 3'), text('a g t 1 2 3 4 5'), text('a g t 1 2 3 -4'), text('a g t 1 2 3 1e3')],
    ...[text('a g t 1 2 3 9999999999999999'), text(' g t 1 2 3 4'), text('a g t 1 2 3 ')],
  ]
  for (const one of wrong) t.throws(() => handleOf(one), { code: 'INVALID_RECEIPT_HANDLE' } as never)
  const codeOf = (value: string) => {
    try {
      handleOf(value)
      return null
    } catch (error) {
      return (error as { code?: string }).code
    }
  }
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.base64String(), fc.string().map(text)), (any) => {
      t.is(codeOf(any), 'INVALID_RECEIPT_HANDLE')
    }),
  )
})

test('receipt handle: a character that is changed leads to another handle or to none, NEVER to an error of another kind', (t) => {
  fc.assert(
    fc.property(handle, fc.nat(), fc.constantFrom(...'abcXYZ019_-'), (made, at, character) => {
      const text = handleText(made)
      const place = at % text.length
      const changed = text.slice(0, place) + character + text.slice(place + 1)
      try {
        handleOf(changed)
        t.pass()
      } catch (error) {
        t.is((error as { code?: string }).code, 'INVALID_RECEIPT_HANDLE')
      }
    }),
  )
})
