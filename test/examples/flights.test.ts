/** The demo as a newcomer runs it: what it promises in one JSON object, and what it leaves behind. */
import test, { type ExecutionContext } from 'ava'
import { start, temporary } from './program.ts'

const door = 'bin/statemq.js'

function checkReport(t: ExecutionContext, output: string): void {
  const report = JSON.parse(output.trimEnd().split('\n').at(-1)!)
  t.like(report, {
    sent: 20_000,
    consumed: 20_000,
    broadcast: 20_000,
    duplicates: 0,
    lost: 0,
    misordered: 0,
    mismatches: 0,
    uncommitted: 0,
    airports: 220,
    rebalances: 2,
    divisions: [
      { ann: 4, bob: 4, cleo: 4 },
      { ann: 3, bob: 3, cleo: 3, dan: 3 },
      { ann: 4, cleo: 4, dan: 4 },
    ],
  })
  t.true(report.sendPerSecond > 0 && report.consumePerSecond > 0 && report.seconds > 0)
  t.true(report.members.every(({ consumed }: { consumed: number }) => consumed > 0))
}

test('demo: 20,000 flights arrive once and in order while members come and go, and nothing is left behind', async (t) => {
  const folder = await temporary(t)
  const demo = start(t, door, ['demo', '--json'], { TMPDIR: folder.path })
  t.is(await demo.ended(), 0, demo.errors)
  checkReport(t, demo.output)
  t.is(demo.output.split('\n').length, 2, 'with --json it prints one line and nothing else')
  t.is(demo.errors, '')
  t.deepEqual(await folder.names(), [])
})

test('demo: what a killed one left behind is removed by the next, and what a live one uses is not', async (t) => {
  const folder = await temporary(t)
  const env = { TMPDIR: folder.path }
  const killed = start(t, door, ['demo'], env)
  await killed.prints('half-way')
  killed.child.kill('SIGKILL')
  t.is(await killed.ended(), 'SIGKILL')
  const left = await folder.names()
  t.is(left.length, 1)

  const live = start(t, door, ['demo', '--json'], env)
  const next = start(t, door, ['demo', '--json'], env)
  t.is(await live.ended(), 0, live.errors)
  t.is(await next.ended(), 0, next.errors)
  checkReport(t, live.output)
  checkReport(t, next.output)
  t.deepEqual(await folder.names(), [])
})

test('demo: Ctrl-C in the middle cleans up and ends with 130', async (t) => {
  const folder = await temporary(t)
  const demo = start(t, door, ['demo'], { TMPDIR: folder.path })
  await demo.prints('half-way')
  demo.child.kill('SIGINT')
  t.is(await demo.ended(), 130, demo.errors)
  t.deepEqual(await folder.names(), [])
})

test('demo: people read who owns the queues at each change and how every airport did', async (t) => {
  const folder = await temporary(t)
  const demo = start(t, door, ['demo'], { TMPDIR: folder.path })
  t.is(await demo.ended(), 0, demo.errors)
  for (const words of [
    'ann, bob and cleo share the 12 queues',
    'half-way: dan joins',
    'bob leaves',
    'All 220 airports agree with the file',
    'DFW        1,103    1,103     9.5 min     9.5 min  same',
    '0 lost, 0 twice, 0 out of order',
  ]) {
    t.true(demo.output.includes(words), `${words}\n${demo.output}`)
  }
  t.true(
    demo.output.split('\n').every((line) => line.length <= 80),
    'it fits 80 columns',
  )
  t.is(demo.errors, '', 'a pipe gets no progress bar')
})
