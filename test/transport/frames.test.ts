/** Frames: every byte is covered, and what is read is what was written. */
import test from 'ava'
import fc from 'fast-check'
import {
  bornTimeAt,
  countAt,
  epochAt,
  FRAME_HEAD_BYTES,
  frameBytesAt,
  frameFault,
  frameOf,
  javaHash,
  kindAt,
  kinds,
  MAX_FRAME_BYTES,
  producerIdAt,
  queueIdAt,
  queueOffsetAt,
  RECORD_HEAD_BYTES,
  readU64,
  recordsAddUp,
  recordsAt,
  sealFrame,
  sequenceAt,
  stampFrame,
  storeTimeAt,
  topicAt,
  writeU64,
} from '../../transport/frames.ts'

const TOPIC = 'orders'
const SAFE = { max: Number.MAX_SAFE_INTEGER }

/** A sealed and stamped frame; `records` are written as they are given. */
function frame(records: Buffer, count: number, topic = TOPIC): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(FRAME_HEAD_BYTES, 0xff), Buffer.from(topic), records])
  sealFrame(bytes, 0, bytes.length, {
    kind: kinds.messages,
    bornTime: 1_700_000_000_123,
    producerId: 2 ** 53 - 1,
    sequence: 2 ** 32 - 1,
    queueId: 65_535,
    count,
    topicBytes: topic.length,
  })
  stampFrame(bytes, 0, 2 ** 32 - 1, 2 ** 53 - 2, 1_700_000_000_456)
  return bytes
}

function record(body: string, properties = '', recordBytes?: number, propertyBytes?: number): Buffer {
  const bytes = Buffer.alloc(RECORD_HEAD_BYTES + properties.length + body.length)
  bytes.writeUInt32LE(recordBytes ?? bytes.length, 0)
  bytes.writeUInt16LE(propertyBytes ?? properties.length, 12)
  bytes.write(properties + body, RECORD_HEAD_BYTES)
  return bytes
}

const sound = () => frame(Buffer.concat([record('one', 'a\u0001b\u0002'), record('two')]), 2)

test('u64: every whole number up to 2^53 - 1 comes back as it was', (t) => {
  const bytes = Buffer.alloc(10)
  const roundTrip = (value: number) => {
    writeU64(bytes, value, 1)
    return readU64(bytes, 1) === value
  }
  for (const value of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1])
    t.true(roundTrip(value), `${value}`)
  fc.assert(fc.property(fc.integer({ min: 0, ...SAFE }), roundTrip))
})

test('u64: touches its eight bytes only', (t) => {
  const bytes = Buffer.alloc(10, 0xaa)
  writeU64(bytes, 2 ** 53 - 1, 1)
  t.deepEqual([bytes[0], bytes[9]], [0xaa, 0xaa])
})

test('frame: its fields come back as they were, at their bounds', (t) => {
  const bytes = Buffer.concat([Buffer.alloc(7), sound()])
  t.deepEqual(
    {
      bytes: frameBytesAt(bytes, 7),
      kind: kindAt(bytes, 7),
      epoch: epochAt(bytes, 7),
      queueOffset: queueOffsetAt(bytes, 7),
      storeTime: storeTimeAt(bytes, 7),
      bornTime: bornTimeAt(bytes, 7),
      producerId: producerIdAt(bytes, 7),
      sequence: sequenceAt(bytes, 7),
      queueId: queueIdAt(bytes, 7),
      count: countAt(bytes, 7),
      topic: topicAt(bytes, 7),
      records: recordsAt(bytes, 7),
    },
    {
      bytes: bytes.length - 7,
      kind: kinds.messages,
      epoch: 2 ** 32 - 1,
      queueOffset: 2 ** 53 - 2,
      storeTime: 1_700_000_000_456,
      bornTime: 1_700_000_000_123,
      producerId: 2 ** 53 - 1,
      sequence: 2 ** 32 - 1,
      queueId: 65_535,
      count: 2,
      topic: TOPIC,
      records: 7 + FRAME_HEAD_BYTES + TOPIC.length,
    },
  )
  t.is(frameFault(bytes, 7, bytes.length), null)
  t.true(recordsAddUp(bytes, 7))
})

test('frame: every bit that is turned, in head, topic and records, is noticed', (t) => {
  const bytes = sound()
  const missed: string[] = []
  for (let at = 0; at < bytes.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      bytes[at]! ^= 1 << bit
      // Behind it stand bytes that a wrong length may reach into.
      const followed = Buffer.concat([bytes, Buffer.alloc(200)])
      if (frameFault(followed, 0, followed.length) === null) missed.push(`${at}.${bit}`)
      bytes[at]! ^= 1 << bit
    }
  }
  t.deepEqual(missed, [])
  t.is(frameFault(bytes, 0, bytes.length), null)
})

test('frame: one that is cut off anywhere is noticed', (t) => {
  const bytes = sound()
  for (let end = 0; end < bytes.length; end++) t.not(frameFault(bytes, 0, end), null, `${end}`)
})

test('frame: no bytes of chance pass for one', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
      const bytes = Buffer.from(noise)
      return frameFault(bytes, 0, bytes.length) !== null
    }),
  )
  t.pass()
})

test('frame: a length beyond the largest frame is refused, though the checksum of the head is right', (t) => {
  const bytes = Buffer.concat([sound(), Buffer.alloc(100)])
  sealFrame(bytes, 0, bytes.length, {
    ...{ kind: kinds.messages, bornTime: 0, producerId: 1, sequence: 0, queueId: 0, count: 2 },
    topicBytes: 6,
  })
  bytes.writeUInt32LE(MAX_FRAME_BYTES + 1, 0)
  t.is(frameFault(bytes, 0, bytes.length), 'length')
  bytes.writeUInt32LE(FRAME_HEAD_BYTES, 0)
  t.is(frameFault(bytes, 0, bytes.length), 'length')
})

test('frame: the stamp of the broker changes nothing of what the producer wrote', (t) => {
  const bytes = sound()
  const before = Buffer.from(bytes)
  stampFrame(bytes, 0, 7, 8, 9)
  const changed = [...bytes.keys()].filter((at) => bytes[at] !== before[at])
  t.true(changed.every((at) => (at >= 4 && at < 8) || (at >= 12 && at < 32)))
  t.is(frameFault(bytes, 0, bytes.length), null)
})

test('frame: a seal forgets the stamp of an earlier use of the same bytes', (t) => {
  const bytes = sound()
  sealFrame(bytes, 0, bytes.length, {
    ...{ kind: kinds.messages, bornTime: 1, producerId: 1, sequence: 0, queueId: 0, count: 2 },
    topicBytes: 6,
  })
  t.deepEqual([epochAt(bytes, 0), queueOffsetAt(bytes, 0), storeTimeAt(bytes, 0)], [0, 0, 0])
})

test("frame: one of the log's own kinds carries its payload", (t) => {
  const bytes = frameOf(kinds.offsets, Buffer.from('{"a":1}'), 5)
  t.is(frameFault(bytes, 0, bytes.length), null)
  t.is(kindAt(bytes, 0), kinds.offsets)
  t.is(countAt(bytes, 0), 0)
  t.is(bytes.toString('utf8', recordsAt(bytes, 0)), '{"a":1}')
  const empty = frameOf(kinds.state, Buffer.alloc(0), 5)
  t.is(frameFault(empty, 0, empty.length), null)
})

test('records: add up only when they fill the frame to its end', (t) => {
  const wrong = {
    'one too few is counted': frame(Buffer.concat([record('one'), record('two')]), 1),
    'one too many is counted': frame(record('one'), 2),
    'none is there': frame(Buffer.alloc(0), 1),
    'bytes are left over': frame(Buffer.concat([record('one'), Buffer.alloc(3)]), 1),
    'a record reaches beyond the end': frame(record('one', '', 1_000), 1),
    'a record is shorter than its head': frame(record('one', '', 15), 1),
    'a record has no length, which would never end': frame(record('', '', 0), 65_535),
    'properties reach beyond their record': frame(record('one', '', undefined, 4), 1),
    'the length is that of a negative number': frame(record('one', '', 0xffff_ffff), 1),
  }
  for (const [why, bytes] of Object.entries(wrong)) {
    t.is(frameFault(bytes, 0, bytes.length), null, why)
    t.false(recordsAddUp(bytes, 0), why)
  }
  t.true(recordsAddUp(frame(record('', ''), 1), 0))
})

test("tag: its number is that of Java's String.hashCode", (t) => {
  const known = {
    '': 0,
    a: 97,
    paid: 3_433_164,
    TagA: 2_598_919,
    中文: 646_394,
    polygenelubricants: -2_147_483_648,
  }
  for (const [text, hash] of Object.entries(known)) t.is(javaHash(text), hash, text)
  t.is(javaHash('Aa'), javaHash('BB'))
})
