/** The answer to a receive: exactly the messages that are given, whatever the frames they were stored in. */
import test from 'ava'
import fc from 'fast-check'
import { messagesIn } from '../../actors/consumer/simple/received-message.ts'
import { codes } from '../../transport/codes.ts'
import { recordsAt, stampFrame } from '../../transport/frames.ts'
import {
  type Piece,
  POP_HEAD_BYTES,
  pieceBytes,
  popAnswer,
  popHasMore,
  popText,
} from '../../transport/pop-exchange.ts'
import { frame } from '../broker/support.ts'

const head = {
  code: codes.SUCCESS,
  epoch: 3,
  hasMore: false,
  token: 2 ** 52 - 1,
  until: 1_700_000_000_000,
  text: '',
}

/** The records of a frame that are chosen, those that follow each other together. */
function piecesOf(stored: Buffer, chosen: readonly boolean[]): Piece[] {
  const pieces: Piece[] = []
  let at = recordsAt(stored, 0)
  for (const [index, isChosen] of chosen.entries()) {
    const to = at + stored.readUInt32LE(at)
    const last = pieces.at(-1)
    if (isChosen && last?.to === at) Object.assign(last, { to, count: last.count + 1 })
    else if (isChosen) pieces.push({ frame: stored, index, count: 1, from: at, to })
    at = to
  }
  return pieces
}

test('pop answer: has exactly the messages that are given, each with its offset, id, body and attempt', (t) => {
  const stored = fc.record({
    bodies: fc.array(fc.string({ minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: 20 }),
    chosen: fc.array(fc.boolean(), { minLength: 20, maxLength: 20 }),
    offset: fc.nat(2 ** 40),
    sequence: fc.nat(2 ** 31),
  })
  fc.assert(
    fc.property(fc.array(stored, { maxLength: 5 }), (all) => {
      const pieces: Piece[] = []
      const expected: unknown[] = []
      const attempts: number[] = []
      for (const { bodies, chosen, offset, sequence } of all) {
        const bytes = frame(bodies, { producerId: 9, sequence, queueId: 1 })
        stampFrame(bytes, 0, 7, offset, 1_234)
        const own = chosen.slice(0, bodies.length)
        pieces.push(...piecesOf(bytes, own))
        for (const [i, body] of bodies.entries()) {
          if (!own[i]) continue
          attempts.push((i % 16) + 1)
          expected.push([body, offset + i, `00000000000009-${sequence + i}`, (i % 16) + 1, 7, 1_234, 1])
        }
      }
      const answer = popAnswer(head, attempts, pieces)
      const messages = messagesIn(answer, 'a', 'g')!
      t.deepEqual(
        messages.map((message) => [
          ...[message.text, message.queueOffset, message.messageId, message.deliveryAttempt],
          ...[message.epoch, message.storeTime, message.queueId],
        ]),
        expected,
      )
      const bytes = pieces.reduce((sum, piece) => sum + pieceBytes(piece), 0)
      t.is(answer.length, POP_HEAD_BYTES + attempts.length * 2 + bytes)
    }),
  )
})

test('pop answer: a frame that is given whole is given as it was stored, byte for byte', (t) => {
  const bytes = frame(['a', 'b', 'c'])
  stampFrame(bytes, 0, 1, 5, 9)
  const answer = popAnswer(head, [1, 1, 1], piecesOf(bytes, [true, true, true]))
  t.deepEqual(answer.subarray(POP_HEAD_BYTES + 6), bytes)
})

test('pop answer: a refusal says why', (t) => {
  const answer = popAnswer(
    { ...head, code: codes.NO_PERMISSION, hasMore: true, text: 'nicht jetzt – später' },
    [],
    [],
  )
  t.is(popText(answer), 'nicht jetzt – später')
  t.true(popHasMore(answer))
  t.deepEqual(messagesIn(answer, 'a', 'g'), [])
})

test('pop answer: bytes that were damaged on their way give no message', (t) => {
  const bytes = frame(['a', 'b', 'c'])
  stampFrame(bytes, 0, 1, 5, 9)
  const answer = popAnswer(head, [1, 2], piecesOf(bytes, [true, false, true]))
  for (let at = POP_HEAD_BYTES + 4; at < answer.length; at++) {
    const damaged = Buffer.from(answer)
    damaged[at]! ^= 1
    t.is(messagesIn(damaged, 'a', 'g'), null)
  }
  for (let length = 0; length < answer.length; length++)
    t.is(messagesIn(answer.subarray(0, length), 'a', 'g'), null)
})
