/** The comparison of logs, held against logs that differ in one thing. */
import { appendFile, cp, mkdir, open, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { temporaryFolder } from './processes.ts'
import { differenceOf } from './same-logs.ts'

/** Two equal logs; a segment is longer than what is compared at once. */
async function twoLogs(t: ExecutionContext): Promise<{ one: string; other: string; last: string }> {
  const dir = await temporaryFolder(t)
  const [one, other] = [join(dir, 'one'), join(dir, 'other')]
  await mkdir(join(one, 'log'), { recursive: true })
  for (const name of ['0.log', '1.log'])
    await writeFile(join(one, 'log', name), Buffer.alloc(1_500_000, name))
  await cp(one, other, { recursive: true })
  return { one, other, last: join(other, 'log', '1.log') }
}

test('same logs: two that are equal have no difference', async (t) => {
  const { one, other } = await twoLogs(t)
  t.is(await differenceOf([one, other]), null)
  t.is(await differenceOf([one]), null)
})

test('same logs: one byte makes a difference, and it is said where', async (t) => {
  const { one, other, last } = await twoLogs(t)
  const file = await open(last, 'r+')
  await file.write(Buffer.from([0]), 0, 1, 1_400_000)
  await file.close()
  t.regex((await differenceOf([one, one, other]))!, /differ in 1\.log at byte 1400000$/)
})

test('same logs: a longer end and a missing segment make a difference', async (t) => {
  const { one, other, last } = await twoLogs(t)
  await appendFile(last, 'x')
  t.regex((await differenceOf([one, other]))!, /differ in 1\.log at byte/)
  await rename(last, join(other, 'log', '2.log'))
  t.regex((await differenceOf([one, other]))!, /has the segments 0\.log 1\.log/)
})
