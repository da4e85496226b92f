/** The demo's judge itself: what it lets pass and what it does not. */
import test from 'ava'
import type { NumberedFlight } from '../../examples/flights/data.ts'
import { Ledger } from '../../examples/flights/ledger.ts'

const flight = (origin: string, sequence: number): NumberedFlight => ({
  ...{ date: '2001/01/01 00:47', delay: 1, distance: 1, destination: 'LAS' },
  ...{ origin, sequence },
})

function give(ledger: Ledger, id: string, origin: string, sequence: number): void {
  const given = flight(origin, sequence)
  if (ledger.begin(id, given)) ledger.end(given)
}

test('ledger: flights of one airport in order, and of several in any, are well', (t) => {
  const ledger = new Ledger()
  for (const [id, origin, sequence] of [
    ['1', 'DFW', 0],
    ['2', 'ATL', 0],
    ['3', 'ATL', 1],
    ['4', 'DFW', 1],
  ] as const) {
    give(ledger, id, origin, sequence)
  }
  t.like(ledger, { duplicates: 0, misordered: 0 })
  t.is(ledger.consumed.length, 4)
})

test('ledger: a message that comes twice is counted once and is not out of order', (t) => {
  const ledger = new Ledger()
  give(ledger, '1', 'DFW', 0)
  give(ledger, '2', 'DFW', 1)
  give(ledger, '1', 'DFW', 0)
  t.like(ledger, { duplicates: 1, misordered: 0 })
  t.is(ledger.consumed.length, 2)
})

test('ledger: a flight after a later one of its airport is out of order', (t) => {
  const ledger = new Ledger()
  give(ledger, '1', 'DFW', 0)
  give(ledger, '3', 'DFW', 2)
  give(ledger, '2', 'DFW', 1)
  t.is(ledger.misordered, 1)
})

test('ledger: a flight that begins while one of its airport is handled is out of order', (t) => {
  const ledger = new Ledger()
  ledger.begin('1', flight('DFW', 0))
  ledger.begin('2', flight('DFW', 1))
  t.is(ledger.misordered, 1)
})
