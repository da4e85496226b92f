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
  t.like(report.failover, { brokerName: 'broker-a' })
  const { killed, master, epoch, waitedMs, backMs } = report.failover
  t.true(killed !== master && epoch >= 2 && waitedMs > 0 && backMs > 0)
  t.true(report.sendPerSecond > 0 && report.consumePerSecond > 0 && report.seconds > 0)
  t.true(report.members.every(({ consumed }: { consumed: number }) => consumed > 0))
}

test.serial(
  'demo: 20,000 flights arrive in order while members come and go and a master is killed, and nothing is left behind',
  async (t) => {
    const folder = await temporary(t)
    const demo = start(t, door, ['demo', '--json'], { TMPDIR: folder.path })
    t.is(await demo.ended(), 0, demo.errors)
    checkReport(t, demo.output)
    t.is(demo.output.split('\n').length, 2, 'with --json it prints one line and nothing else')
    t.is(demo.errors, '')
    t.deepEqual(await folder.names(), [])
  },
)

test.serial(
  'demo: what a killed one left behind is removed by the next, and what a live one uses is not',
  async (t) => {
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
  },
)

test.serial('demo: Ctrl-C in the middle cleans up and ends with 130', async (t) => {
  const folder = await temporary(t)
  const demo = start(t, door, ['demo'], { TMPDIR: folder.path })
  await demo.prints('half-way')
  demo.child.kill('SIGINT')
  t.is(await demo.ended(), 130, demo.errors)
  t.deepEqual(await folder.names(), [])
})

test.serial('demo: people read who owns the queues at each change and how every airport did', async (t) => {
  const folder = await temporary(t)
  const demo = start(t, door, ['demo'], { TMPDIR: folder.path })
  t.is(await demo.ended(), 0, demo.errors)
  for (const words of [
    /ann, bob and cleo share the 12 queues/,
    /dan joins/,
    /half-way: broker-a\/\d, a master, is killed/,
    /broker-a\/\d takes over, at epoch \d/,
    /broker-a\/\d is back, a slave in sync/,
    /bob leaves/,
    /All 220 airports agree with the file/,
    /DFW {8}1,103 {4}1,103 {5}9\.5 min {5}9\.5 min {2}same/,
    /^kept +0 lost, \d+ twice, 0 out of order$/m,
  ]) {
    t.regex(demo.output, words)
  }
  t.true(
    demo.output.split('\n').every((line) => line.length <= 80),
    'it fits 80 columns',
  )
  t.is(demo.errors, '', 'a pipe gets no progress bar')
})
