/** What a group has sent back, as a state in the log keeps it. */
import test from 'ava'
import { type SavedSentBack, SentBack } from '../../actors/broker/retry/sent-back.ts'

test('sent back: what was saved is known again, and nothing else', (t) => {
  const saved: SavedSentBack = [['g', [['orders/0', [3, 7]]]]]
  const sentBack = new SentBack()
  sentBack.restore([['old', [['orders/0', [1]]]]])
  sentBack.restore(saved)
  t.true(sentBack.has('g', 'orders/0', 3))
  t.false(sentBack.has('g', 'orders/0', 4))
  t.false(sentBack.has('old', 'orders/0', 1))
  t.deepEqual(sentBack.save(), saved)
})
