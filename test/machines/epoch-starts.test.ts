import test from 'ava'
import fc from 'fast-check'
import {
  cutPosition,
  divergence,
  type EpochStart,
  endOfEpoch,
  type Lineage,
  lastEpochOf,
  standing,
} from '../../machines/epoch-starts.ts'

/** A log for the test: the epoch of each entry; its position is its index. */
type Log = readonly number[]
function lineageOf(log: Log, begin = 0): Lineage {
  const starts: EpochStart[] = []
  log.forEach((epoch, start) => {
    if (epoch !== starts.at(-1)?.epoch) starts.push({ epoch, start })
  })
  const kept = starts.filter((_, i) => (starts[i + 1]?.start ?? Number.POSITIVE_INFINITY) >= begin)
  return {
    starts: kept.map(({ epoch, start }) => ({ epoch, start: Math.max(start, begin) })),
    end: log.length,
  }
}
const commonPrefix = (a: Log, b: Log): number => {
  const differs = a.findIndex((epoch, i) => b[i] !== epoch)
  return differs < 0 ? a.length : differs
}
/** What a slave does until it is a prefix of the master: [its log then, the rounds it took], or 'gone'. */
function converge(slave: Log, master: Log, begin = 0): [Log, number] | 'gone' {
  const own = lineageOf(master, begin)
  let log = slave
  for (let rounds = 0; rounds <= slave.length + 1; rounds++) {
    const stands = standing(own, begin, log.length, log.at(-1) ?? 0)
    if (stands === 'prefix') return [log, rounds]
    if (stands === 'gone') return 'gone'
    log = log.slice(0, cutPosition(lineageOf(log), stands))
  }
  throw new Error('it does not converge')
}

/**
 * Logs as masters make them: each epoch's master begins with a log that some earlier one left, or a part of it, and
 * appends. So two logs that hold the same epoch hold the same entries up to the smaller of its two ends.
 */
const epochs = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(4)), { minLength: 1, maxLength: 7 })
function logsOf(masterships: readonly (readonly [number, number, number])[]): Log[] {
  const logs: Log[] = [[]]
  masterships.forEach(([from, cut, appended], i) => {
    const base = logs[from % logs.length]!
    logs.push([...base.slice(0, cut % (base.length + 1)), ...Array(appended).fill(i + 1)])
  })
  return logs
}
const twoLogs = fc.tuple(epochs, fc.nat(), fc.nat()).map(([masterships, a, b]) => {
  const logs = logsOf(masterships)
  return [logs[a % logs.length]!, logs[b % logs.length]!] as const
})

test('epoch starts: two logs are cut to exactly what they have in common', (t) => {
  fc.assert(
    fc.property(twoLogs, ([slave, master]) => {
      const [log] = converge(slave, master) as [Log, number]
      t.deepEqual(log, slave.slice(0, commonPrefix(slave, master)))
    }),
    { numRuns: 2_000 },
  )
})

test('epoch starts: a cut NEVER goes below what both have, not even for a while', (t) => {
  fc.assert(
    fc.property(twoLogs, ([slave, master]) => {
      const common = commonPrefix(slave, master)
      const differs = divergence(lineageOf(master), slave.length, slave.at(-1) ?? 0)
      t.is(differs === null, slave.length === common)
      if (differs) t.true(cutPosition(lineageOf(slave), differs) >= common)
    }),
    { numRuns: 2_000 },
  )
})

test('epoch starts: it takes AT MOST one round for each epoch that the slave has too many', (t) => {
  fc.assert(
    fc.property(twoLogs, ([slave, master]) => {
      const [, rounds] = converge(slave, master) as [Log, number]
      const common = commonPrefix(slave, master)
      t.true(rounds <= new Set(slave.slice(common)).size)
    }),
    { numRuns: 2_000 },
  )
})

test('epoch starts: a log that has lost its beginning still tells apart what it can, or says that it cannot', (t) => {
  fc.assert(
    fc.property(twoLogs, fc.nat(), ([slave, master], begins) => {
      // What is dropped is confirmed, so whoever follows has it or nothing of what came after it.
      const begin = begins % (commonPrefix(slave, master) + 1)
      if (begin === master.length) return
      const converged = converge(slave, master, begin)
      if (converged === 'gone') return t.true(slave.length < begin)
      t.deepEqual(converged[0], slave.slice(0, commonPrefix(slave, master)))
    }),
    { numRuns: 2_000 },
  )
  t.pass()
})

test('epoch starts: a log that differs before the beginning of the master has to begin anew', (t) => {
  t.is(standing(lineageOf([1, 2, 2, 2], 2), 2, 3, 1), 'gone')
  t.is(standing(lineageOf([1, 2, 2, 2], 2), 2, 1, 1), 'gone')
})

test('epoch starts: a log that ends where the master begins follows on, in whatever epoch it ended', (t) => {
  t.is(standing(lineageOf([1, 1, 2, 2], 2), 2, 2, 1), 'prefix')
  t.is(standing(lineageOf([1, 1, 2, 2], 1), 1, 1, 1), 'prefix')
})

test('epoch starts: an empty log follows on wherever it begins', (t) => {
  const own = lineageOf([1, 1, 2, 2], 1)
  t.is(standing(own, 1, 3, 0), 'prefix')
  t.is(standing(own, 1, 1, 0), 'prefix')
  t.is(standing(own, 1, 0, 0), 'gone')
  t.is(standing(own, 1, 5, 0), 'gone')
  t.is(standing(lineageOf([]), 0, 0, 0), 'prefix')
})

test('epoch starts: the end of an epoch is where the next one begins', (t) => {
  const own = lineageOf([1, 1, 3, 3, 3])
  t.deepEqual(endOfEpoch(own, 3), { epoch: 3, end: 5 })
  t.deepEqual(endOfEpoch(own, 2), { epoch: 1, end: 2 })
  t.deepEqual(endOfEpoch(own, 9), { epoch: 3, end: 5 })
  t.deepEqual(endOfEpoch(own, 0), { epoch: 0, end: 0 })
  t.deepEqual(endOfEpoch(lineageOf([]), 4), { epoch: 0, end: 0 })
  t.is(lastEpochOf(own), 3)
  t.is(lastEpochOf(lineageOf([])), 0)
})
