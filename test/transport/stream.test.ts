/** The heads of the stream between master and slave: what they carry comes back, and nothing that was damaged. */
import test from 'ava'
import {
  type Ack,
  ackBytes,
  DATA_HEAD_BYTES,
  type DataHead,
  readAck,
  readDataHead,
  writeDataHead,
} from '../../transport/stream.ts'

const head: DataHead = {
  ...{ epoch: 7, session: 2 ** 32 - 1, from: 2 ** 40 + 1, confirm: 2 ** 40, end: 2 ** 41, sentAt: 1234.5 },
}
const ack: Ack = {
  ...{ epoch: 7, session: 9, brokerId: 1, lineage: 2, incarnation: 3, position: 2 ** 40 + 5 },
  ...{ unfinishedBytes: 11, echo: 1234.5, isFull: true },
}
const written = (): Buffer => {
  const bytes = Buffer.alloc(DATA_HEAD_BYTES + 3)
  writeDataHead(bytes, head)
  return bytes
}

/** What is read from the bytes when one bit of the first `count` bytes is another. */
function readings<T>(bytes: Buffer, count: number, read: (bytes: Buffer) => T): T[] {
  return Array.from({ length: 8 * count }, (_, bit) => {
    const damaged = Buffer.from(bytes)
    damaged[bit >> 3]! ^= 1 << (bit & 7)
    return read(damaged)
  })
}

test('stream: a head and an acknowledgement are read as they were written', (t) => {
  t.deepEqual(readDataHead(written()), head)
  for (const isFull of [true, false]) t.deepEqual(readAck(ackBytes({ ...ack, isFull })), { ...ack, isFull })
})

test('stream: a head or an acknowledgement with one wrong bit is NEVER read', (t) => {
  t.deepEqual([...new Set(readings(written(), DATA_HEAD_BYTES, readDataHead))], [null])
  const bytes = ackBytes(ack)
  t.deepEqual([...new Set(readings(bytes, bytes.length, readAck))], [null])
})

test('stream: what is too short, or an acknowledgement that is too long, is not read', (t) => {
  t.is(readDataHead(written().subarray(0, DATA_HEAD_BYTES - 1)), null)
  t.is(readAck(ackBytes(ack).subarray(1)), null)
  t.is(readAck(Buffer.concat([ackBytes(ack), Buffer.alloc(1)])), null)
})
