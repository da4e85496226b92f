/** Memory of the newest bytes: who is given a view that lasts keeps its slab; who copies at once keeps nothing. */
import test from 'ava'
import { HotTail } from '../../actors/broker/store/hot-tail.ts'
import { messages } from './support.ts'

const SLAB_BYTES = 1024 * 1024

/** Looks at the first frame, then appends several slabs' worth: whether the first slab's memory holds others later. */
function isUsedAgain(look: (hot: HotTail, length: number) => Buffer | null): boolean {
  const hot = new HotTail(SLAB_BYTES)
  const frame = messages('t', 0, Buffer.alloc(100_000))
  const memory: ArrayBufferLike[] = []
  for (let position = 0; position < 4 * SLAB_BYTES; ) {
    hot.append(frame, 0, frame.length, position)
    position += frame.length
    memory.push(hot.between(position - 1, position)[0]!.buffer)
    if (memory.length === 1 && look(hot, frame.length) === null)
      throw new Error('the first frame is not there')
    hot.release(position)
  }
  const next = memory.findIndex((one) => one !== memory[0])
  return memory.indexOf(memory[0]!, next) > next
}

test('hot tail: memory that a follower was sent from is used again', (t) => {
  t.true(isUsedAgain((hot) => hot.frames(0, SLAB_BYTES)))
})

test('hot tail: memory of which a reader has a view is NEVER used again', (t) => {
  t.false(isUsedAgain((hot, length) => hot.frame(0, length)))
})
