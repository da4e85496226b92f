/** What the demo reckons of a failover, and how it judges what came out. */
import test from 'ava'
import type { NumberedFlight } from '../../examples/flights/data.ts'
import { type Failover, Outage } from '../../examples/flights/failover.ts'
import { judge, type Played } from '../../examples/flights/report.ts'

test('outage: the wait is the longest time in which sends were under way and none was acknowledged', (t) => {
  const outage = new Outage()
  outage.acknowledged(0, 10, 1)
  outage.killed()
  outage.acknowledged(5, 20, 1) // On its way when the master died.
  outage.acknowledged(5, 720, 2)
  outage.acknowledged(5, 730, 2)
  t.is(outage.waitedMs, 700)
  t.deepEqual(outage.takenOver, { at: 720, epoch: 2 })
})

test('outage: time in which nobody sent is no wait, and what was before the kill is none', (t) => {
  const outage = new Outage()
  outage.acknowledged(0, 5_000, 1)
  outage.killed()
  outage.acknowledged(9_000, 9_300, 2)
  t.is(outage.waitedMs, 300)
})

test('outage: nobody has taken over before a HIGHER epoch acknowledges', (t) => {
  const outage = new Outage()
  outage.acknowledged(0, 10, 3)
  outage.killed()
  outage.acknowledged(0, 20, 3)
  t.is(outage.takenOver, null)
  outage.acknowledged(0, 30, 4)
  outage.acknowledged(0, 35, 3)
  outage.acknowledged(0, 40, 5)
  t.deepEqual(outage.takenOver, { at: 30, epoch: 4 })
})

const flight = (origin: string, sequence: number, delay = 1): NumberedFlight => ({
  ...{ date: '2001/01/01 00:47', delay, distance: 1, destination: 'LAS' },
  ...{ origin, sequence },
})
const flights = [flight('DFW', 0), flight('ATL', 0)]
const failover: Failover = {
  ...{ brokerName: 'broker-a', killed: 0, killedAtSeconds: 3.14, master: 1, epoch: 2 },
  ...{ takenOverMs: 400, waitedMs: 410, backMs: 2_000 },
}
const well: Played = {
  ...{ flights, ledger: { consumed: [...flights], duplicates: 0, misordered: 0 } },
  ...{ sent: 2, broadcast: 2, uncommitted: 0, divisions: [{ ann: 12 }], members: [], failover },
  ...{ sendingMs: 1_000, consumingMs: 1_000, handlerMs: 1, seconds: 7.77, stalledMs: null },
}

test('judgement: when all came out nothing is broken, also when something came twice', (t) => {
  const { report, broken } = judge({ ...well, ledger: { ...well.ledger, duplicates: 3 } })
  t.deepEqual(broken, [])
  t.like(report, { lost: 0, duplicates: 3, mismatches: 0, sendPerSecond: 2, seconds: 7.8 })
  t.is(report.failover!.killedAtSeconds, 3.1)
})

const faults: [what: string, played: Partial<Played>, says: string[]][] = [
  [
    'a flight that is lost',
    { ledger: { consumed: [flights[0]!], duplicates: 0, misordered: 0 } },
    ['1 lost', '1 mismatches'],
  ],
  ['one out of order', { ledger: { ...well.ledger, misordered: 1 } }, ['1 misordered']],
  [
    'one that was changed',
    { ledger: { ...well.ledger, consumed: [flight('DFW', 0, 2), flights[1]!] } },
    ['1 mismatches'],
  ],
  ['one that was not broadcast', { broadcast: 1 }, ['1 not broadcast']],
  ['a master that was never killed', { failover: null }, ['no master was killed']],
  [
    'one that did not come back',
    { failover: { ...failover, backMs: null } },
    ['broker-a/0 did not come back'],
  ],
  ['a demo that stalled', { stalledMs: 20_000 }, ['nothing moved for 20 s']],
]
for (const [what, played, says] of faults) {
  test(`judgement: finds ${what}`, (t) => {
    t.deepEqual(judge({ ...well, ...played }).broken, says)
  })
}
