/** Messages in parts: joined whole or never. */
import test from 'ava'
import { createJoiner, MAX_WHOLE_BYTES, PART_HEADER, split, type Whole } from '../../transport/parts.ts'
import type { Headers } from '../../transport/transport.ts'
import { notedLog } from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'

type Part = { bytes: Uint8Array; headers: Headers; first: boolean }

function partsOf(payload: Uint8Array, maxPayload: number, message: string, headers?: Headers): Part[] {
  const parts: Part[] = []
  split(payload, maxPayload, message, headers, (bytes, head, first) =>
    parts.push({ bytes, headers: head, first }),
  )
  return parts
}

function place() {
  const clock = virtualClock()
  const log = notedLog()
  const joiner = createJoiner(clock, log)
  const ear = {}
  const take = ({ bytes, headers, first }: Part, subscription: object = ear): Whole | undefined =>
    joiner.join(subscription, bytes, headers[PART_HEADER]!, first ? 'the.reply' : '', headers)
  return { clock, log, joiner, take }
}

const payload = Buffer.from('the quick brown fox jumps over the lazy dog'.repeat(100))

test('parts: they join to the payload, the reply and the headers of the message', (t) => {
  const { take, joiner } = place()
  const parts = partsOf(payload, 1_000, 's-1', { Note: 'kept' })
  t.true(parts.length > 1)
  const results = parts.map((part) => take(part))
  t.deepEqual(results.slice(0, -1).filter(Boolean), [])
  const { payload: whole, reply, headers } = results.at(-1)!
  t.true(whole.equals(payload))
  t.is(reply, 'the.reply')
  t.deepEqual(headers, { Note: 'kept' })
  t.is(joiner.heldBytes, 0)
})

test('parts: each fits the server together with its headers, and only the first asks for an answer', (t) => {
  const headers = { Note: 'ü'.repeat(100) }
  for (const { bytes, headers: head, first } of partsOf(
    payload,
    1_000,
    'feedbeeffeedbeef-9007199254740991',
    headers,
  )) {
    const block = Object.entries(head).map(([name, value]) => `${name}: ${value}\r\n`)
    t.true(bytes.length + Buffer.byteLength(`NATS/1.0\r\n${block.join('')}\r\n`) <= 1_000)
    t.is(Object.hasOwn(head, 'Note'), first)
  }
})

test('parts: headers that leave no room are a bug', (t) => {
  t.throws(() => partsOf(payload, 1_000, 's-1', { Note: 'x'.repeat(1_000) }), { instanceOf: RangeError })
})

test('parts: senders and subscriptions do not get mixed', (t) => {
  const { take } = place()
  const other = {}
  const one = partsOf(payload, 2_000, 's-1')
  const two = partsOf(Buffer.from(payload).reverse(), 2_000, 'r-1')
  t.is(one.length, two.length)
  const wholes: Buffer[] = []
  one.forEach((part, i) => {
    for (const whole of [take(part), take(two[i]!), take(part, other)]) if (whole) wholes.push(whole.payload)
  })
  t.is(wholes.length, 3)
  t.true(wholes[0]!.equals(payload))
  t.true(wholes[1]!.equals(Buffer.from(payload).reverse()))
  t.true(wholes[2]!.equals(payload))
})

test('parts: a message with a part missing is NEVER heard, and the next one is', (t) => {
  const { take, log, joiner } = place()
  const parts = partsOf(payload, 1_000, 's-1')
  for (const part of parts.filter((_, i) => i !== 1)) t.is(take(part), undefined)
  t.is(joiner.heldBytes, 0)
  t.is(log.lines.length, 1)
  t.true(
    partsOf(payload, 1_000, 's-2')
      .map((part) => take(part))
      .at(-1)!
      .payload.equals(payload),
  )
})

test('parts: a message whose sender begins another one is dropped', (t) => {
  const { take, log, joiner } = place()
  take(partsOf(payload, 1_000, 's-1')[0]!)
  take(partsOf(payload, 1_000, 's-2')[0]!)
  t.is(joiner.heldBytes, payload.length)
  t.is(log.lines.length, 1)
})

test('parts: what stays incomplete is dropped in time', (t) => {
  const { take, clock, joiner, log } = place()
  const parts = partsOf(payload, 1_000, 's-1')
  take(parts[0]!)
  clock.advance(9_000)
  t.is(joiner.heldBytes, payload.length)
  clock.advance(3_000)
  t.is(joiner.heldBytes, 0)
  t.is(clock.timers, 0)
  t.is(take(parts[1]!), undefined)
  t.is(log.lines.length, 1)
})

test('parts: what is incomplete has a bound, and the oldest goes first', (t) => {
  const { take, joiner } = place()
  const first = (i: number): Part => ({
    bytes: Buffer.alloc(10),
    headers: { [PART_HEADER]: `s${i}-1 0 2 ${MAX_WHOLE_BYTES}` },
    first: true,
  })
  for (let i = 0; i < 20; i++) take(first(i))
  t.true(joiner.heldBytes <= 128 * 1024 * 1024)
  const second = { ...first(0), headers: { [PART_HEADER]: `s0-1 1 2 ${MAX_WHOLE_BYTES}` }, first: false }
  t.is(take(second), undefined)
  joiner.clear()
  t.is(joiner.heldBytes, 0)
})

test('parts: one that lies is dropped', (t) => {
  const { take, joiner } = place()
  const lie = (place: string, bytes = 10): Part => ({
    bytes: Buffer.alloc(bytes),
    headers: { [PART_HEADER]: place },
    first: false,
  })
  for (const place of [
    '',
    'x',
    's-1 0 2',
    's 0 2 10',
    `s-1 0 2 ${MAX_WHOLE_BYTES + 1}`,
    's-1 0 2 -5',
    's-1 7 2 10',
  ])
    t.is(take(lie(place)), undefined, place)
  t.is(take(lie('s-1 0 2 5')), undefined, 'a part larger than the whole')
  t.is(take(lie('s-2 0 1 50')), undefined, 'a last part that leaves a gap')
  t.is(joiner.heldBytes, 0)
})

test('parts: what is incomplete is held for AT MOST 10 s, also AFTER a connection broke', (t) => {
  const { clock, joiner, take } = place()
  take(partsOf(payload, 1_000, 's-1')[0]!)
  joiner.clear()
  t.is(joiner.heldBytes, 0)
  take(partsOf(payload, 1_000, 's-2')[0]!)
  clock.advance(11_000)
  t.is(joiner.heldBytes, 0)
  t.is(clock.timers, 0)
})
