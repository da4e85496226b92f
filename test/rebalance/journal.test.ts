import { readFileSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '../support/processes.ts'
import { Journal, parseJournal, readJournal } from './journal.ts'

const QUEUE = 'orders/broker-a/0'

test('journal: tells of what was begun and ended, and of what was owned', async (t) => {
  const path = join(await temporaryFolder(t), 'a.journal')
  const journal = new Journal(path)
  journal.note(['a', 1, [[QUEUE, 3]]])
  journal.note(['h', 2, QUEUE, 7, 3, 'p/1'])
  journal.note(['s', 4, QUEUE, 8, 3, 'p/2'])
  journal.note(['e', 9, QUEUE, 8, 3])
  journal.note(['s', 10, QUEUE, 9, 3, 'p/3'])
  journal.close()
  const same = { member: 'a', queue: QUEUE, epoch: 3 }
  t.deepEqual(readJournal(path, 'a'), {
    deliveries: [
      { ...same, offset: 7, message: 'p/1', startedAt: 2, endedAt: 2 },
      { ...same, offset: 8, message: 'p/2', startedAt: 4, endedAt: 9 },
      { ...same, offset: 9, message: 'p/3', startedAt: 10, endedAt: null },
    ],
    ownerships: [{ member: 'a', at: 1, owned: [{ queue: QUEUE, epoch: 3 }] }],
  })
})

test('journal: resolves AFTER everything noted so far is in the file', async (t) => {
  const path = join(await temporaryFolder(t), 'a.journal')
  const journal = new Journal(path)
  journal.note(['h', 1, QUEUE, 0, 1, 'p/0'])
  const first = journal.written()
  journal.note(['h', 1, QUEUE, 1, 1, 'p/1'])
  const second = journal.written()
  t.is(readFileSync(path, 'utf8'), '')
  await second
  t.is(readJournal(path, 'a').deliveries.length, 2)
  await first
})

test('journal: leaves out a last line that was torn', async (t) => {
  const path = join(await temporaryFolder(t), 'a.journal')
  const journal = new Journal(path)
  for (let offset = 0; offset < 3; offset++) journal.note(['h', 1, QUEUE, offset, 1, `p/${offset}`])
  journal.close()
  const { length } = readFileSync(path)
  for (let cut = 2; cut < 20; cut++) {
    truncateSync(path, length - cut)
    t.is(readJournal(path, 'a').deliveries.length, 2)
  }
})

test('journal: refuses a line in the middle that cannot be read', (t) => {
  t.throws(() => parseJournal('["a",1,[]]\nnonsense\n["a",2,[]]\n', 'm1'), {
    message: /^line 2 of the journal of m1/,
  })
})
