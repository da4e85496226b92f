import test from 'ava'
import fc from 'fast-check'
import {
  brokerNameFault,
  clusterNameFault,
  groupFault,
  roomFault,
  sendTopicFault,
  topicFault,
} from '../../machines/names.ts'

test('names: letters, digits, _ - % and | make a topic and a group', (t) => {
  for (const name of ['orders', 'A-1_b', '%RETRY%billing', 'a|b', 'x']) {
    t.is(topicFault(name), null)
    t.is(groupFault(name), null)
  }
})

test('names: whatever could split a subject or leave a folder is illegal', (t) => {
  for (const name of ['', ' ', 'a b', 'a.b', 'a/b', '..', 'a*', '>', 'ä', 'a\n', 'a\0']) {
    for (const fault of [topicFault(name), groupFault(name), brokerNameFault(name), clusterNameFault(name)]) {
      t.is(fault?.code, 'INVALID_PARAMETER')
      t.regex(fault!.message, /characters out of/)
    }
  }
})

test('names: a topic has up to 127 characters, one made for retries up to 255, a group up to 120', (t) => {
  const long = (length: number, prefix = '') => prefix + 'x'.repeat(length - prefix.length)
  t.is(topicFault(long(127)), null)
  t.truthy(topicFault(long(128)))
  t.is(topicFault(long(255, '%RETRY%')), null)
  t.is(topicFault(long(255, '%DLQ%')), null)
  t.truthy(topicFault(long(256, '%DLQ%')))
  t.is(groupFault(long(120)), null)
  t.truthy(groupFault(long(121)))
})

test('names: brokers and clusters have neither % nor |', (t) => {
  t.is(brokerNameFault('broker-a_1'), null)
  t.truthy(brokerNameFault('a%b'))
  t.truthy(clusterNameFault('a|b'))
})

test('names: a broker may have its machine room before its name', (t) => {
  t.is(brokerNameFault('room-1@broker_a'), null)
  for (const name of ['@', 'room@', '@broker', 'a@b@c', 'a@@b', 'a@b/c', 'a@b.c', 'a@..', 'a@b\n']) {
    t.regex(brokerNameFault(name)!.message, /one @ after its machine room/)
  }
  t.is(roomFault('room-1'), null)
  for (const room of ['', 'a@b', 'a b', 'a.b', 'x'.repeat(128)])
    t.is(roomFault(room)?.code, 'INVALID_PARAMETER')
})

test('names: only the system writes to its own topics', (t) => {
  t.is(sendTopicFault('SCHEDULE_TOPIC_XXXX')?.code, 'MESSAGE_ILLEGAL')
  t.is(sendTopicFault('a b')?.code, 'MESSAGE_ILLEGAL')
  t.is(sendTopicFault('orders'), null)
})

test('names: a legal topic is one token of a subject', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (name) => {
      if (topicFault(name) === null) t.notRegex(name, /[\s.*>/\\\0]/)
    }),
  )
})
