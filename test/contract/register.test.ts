/**
 * The contract of the register, held on all of its homes: each test runs on the table in memory, on the register that
 * a node serves, in this process and in one that is killed, and on JetStream in a real nats-server.
 */
import test, { type ExecutionContext } from 'ava'
import type { Held, SwapOutcome } from '../../transport/register.ts'
import { VALUE_BYTES_MAX } from '../../transport/register.ts'
import { faultIn, SwapHistory } from '../support/linearizable.ts'
import {
  held,
  homes,
  type Member,
  NEVER_MS,
  type RegisterHome,
  type RegisterStation,
  read,
  swap,
  swapSurely,
} from '../support/registers.ts'
import { seededRandom, seedOfRun } from '../support/seeded-random.ts'
import { until } from '../support/until.ts'

type Body = (t: ExecutionContext, station: RegisterStation) => Promise<void>

/** One fact, on every home that `where` picks, each time in a place of its own. */
function fact(title: string, body: Body, where: (home: RegisterHome) => boolean = () => true): void {
  for (const home of homes.filter(where))
    test.serial(`${home.name}: ${title}`, async (t) => {
      const members: Member[] = []
      const station = await home.start(t)
      const connect: RegisterStation['connect'] = async (times) => {
        const member = await station.connect(times)
        members.push(member)
        return member
      }
      try {
        await body(t, { ...station, connect })
      } finally {
        for (const { register } of members) register.close()
      }
    })
}

const connectMany = (station: RegisterStation, count: number) =>
  Promise.all(Array.from({ length: count }, () => station.connect()))

/** Watches and keeps what it hears. */
function listen({ register }: Member, key: string) {
  const heard: Held[] = []
  const watch = register.watch(key, (held) => heard.push(held))
  const hears = (revision: number) =>
    until(`revision ${revision} of ${key} is heard`, () => heard.at(-1)?.revision === revision)
  return { heard, watch, hears }
}

const isRising = (heard: readonly Held[]): boolean =>
  heard.every(({ revision }, i) => i === 0 || revision > heard[i - 1]!.revision)

fact('a key that was never written holds null, and a swap of revision 0 creates it', async (t, station) => {
  const { register } = await station.connect()
  t.is(await held(register, 'a'), null)
  t.deepEqual(await swap(register, 'a', 0, { epoch: 1 }), { result: 'ok', revision: 1 })
  t.deepEqual(await held(register, 'a'), { revision: 1, value: { epoch: 1 } })
})

fact('a broker whose name tells its machine room has a key like any other', async (t, station) => {
  const [one, other] = await connectMany(station, 2)
  const { heard, hears } = listen(other!, 'room-1@broker-a')
  t.deepEqual(await swap(one!.register, 'room-1@broker-a', 0, 'x'), { result: 'ok', revision: 1 })
  await hears(1)
  t.deepEqual(heard, [{ revision: 1, value: 'x' }])
  t.deepEqual(await held(other!.register, 'room-1@broker-a'), { revision: 1, value: 'x' })
  t.is(await held(other!.register, 'broker-a'), null)
})

fact('a swap of the revision that is there writes, and everybody reads it', async (t, station) => {
  const [one, other] = await connectMany(station, 2)
  for (let revision = 0; revision < 20; revision++) {
    const outcome = await swap(one!.register, 'a', revision, { step: revision })
    t.deepEqual(outcome, { result: 'ok', revision: revision + 1 })
  }
  t.deepEqual(await held(other!.register, 'a'), { revision: 20, value: { step: 19 } })
})

fact('a swap of another revision changes nothing and tells what is there', async (t, station) => {
  const [one, other] = await connectMany(station, 2)
  await swap(one!.register, 'a', 0, 'first')
  await swap(one!.register, 'a', 1, 'second')
  const conflict: SwapOutcome = { result: 'conflict', held: { revision: 2, value: 'second' } }
  for (const expected of [0, 1, 3, 100])
    t.deepEqual(await swap(other!.register, 'a', expected, 'wrong'), conflict)
  t.deepEqual(await held(one!.register, 'a'), { revision: 2, value: 'second' })
})

fact('a swap of a revision where nothing is tells that nothing is there', async (t, station) => {
  const { register } = await station.connect()
  t.deepEqual(await swap(register, 'a', 3, 'x'), { result: 'conflict', held: null })
  t.is(await held(register, 'a'), null)
})

fact('each call is answered ONCE and NEVER from inside the call', async (t, station) => {
  const { register, losses } = await station.connect()
  await held(register, 'a')
  for (const isLost of [false, true]) {
    losses.answers = isLost
    const answers: string[] = []
    register.read('a', () => answers.push('read'))
    register.swap('a', 0, 1, () => answers.push('swap'))
    t.deepEqual(answers, [])
    await until('both are answered', () => answers.length >= 2)
    losses.answers = false
    await held(register, 'a')
    t.deepEqual(answers.sort(), ['read', 'swap'])
  }
})

fact('of six writers that expect one revision exactly one wins, 50 times', async (t, station) => {
  const writers = await connectMany(station, 6)
  const history = new SwapHistory()
  for (let round = 0; round < 50; round++) {
    const outcomes = await Promise.all(
      writers.map(({ register }, i) => history.swap(register, String(i), 'a', round, { round, writer: i })),
    )
    const winners = outcomes.flatMap(({ result }, writer) => (result === 'ok' ? [{ round, writer }] : []))
    t.is(winners.length, 1, JSON.stringify(outcomes))
    for (const outcome of outcomes)
      if (outcome.result !== 'ok')
        t.deepEqual(outcome, { result: 'conflict', held: { revision: round + 1, value: winners[0]! } })
  }
  t.is(faultIn(history.events), null)
})

fact(
  'a swap whose answer is lost is unknown, and the SAME swap again finds its own value',
  async (t, station) => {
    const { register, losses } = await station.connect()
    await swap(register, 'a', 0, 'old')
    losses.answers = true
    const outcome = await swap(register, 'a', 1, { writeId: 'w-1' })
    t.is(outcome.result, 'unknown')
    t.is(outcome.result === 'unknown' && outcome.failure.code, 'timedOut')
    losses.answers = false
    t.deepEqual(await swapSurely(register, 'a', 1, { writeId: 'w-1' }), {
      result: 'conflict',
      held: { revision: 2, value: { writeId: 'w-1' } },
    })
  },
)

fact('a swap that is lost on its way is unknown, and the SAME swap again is done', async (t, station) => {
  const { register, losses } = await station.connect()
  await swap(register, 'a', 0, 'old')
  losses.orders = true
  t.is((await swap(register, 'a', 1, 'new')).result, 'unknown')
  const lost = await read(register, 'a')
  t.is(lost.ok, false)
  losses.orders = false
  t.deepEqual(await swap(register, 'a', 1, 'new'), { result: 'ok', revision: 2 })
})

fact(
  'a watch hears what is there and then newer values, in order and each at most once',
  async (t, station) => {
    const [writer, one, other] = await connectMany(station, 3)
    await swap(writer!.register, 'a', 0, 'before')
    const ears = [listen(one!, 'a'), listen(one!, 'a'), listen(other!, 'a'), listen(writer!, 'a')]
    for (const { hears } of ears) await hears(1)
    for (let revision = 1; revision < 30; revision++)
      await swap(writer!.register, 'a', revision, { revision: revision + 1 })
    for (const { hears, heard } of ears) {
      await hears(30)
      t.true(isRising(heard), JSON.stringify(heard))
      t.deepEqual(heard[0], { revision: 1, value: 'before' })
      for (const { revision, value } of heard.slice(1)) t.deepEqual(value, { revision })
    }
  },
)

fact('a watch of a key that was never written hears its first value', async (t, station) => {
  const [writer, reader] = await connectMany(station, 2)
  const ear = listen(reader!, 'a')
  await held(reader!.register, 'a')
  t.deepEqual(ear.heard, [])
  await swap(writer!.register, 'a', 0, 'first')
  await ear.hears(1)
})

fact('a watch is told by pushes, without looking for itself', async (t, station) => {
  const writer = await station.connect()
  const reader = await station.connect({ pollMs: NEVER_MS })
  await swap(writer.register, 'a', 0, 1)
  const ear = listen(reader, 'a')
  await ear.hears(1)
  await swap(writer.register, 'a', 1, 2)
  await ear.hears(2)
  t.deepEqual(ear.heard.at(-1), { revision: 2, value: 2 })
})

fact('a watch hears the newest value even when all pushes are lost', async (t, station) => {
  const [writer, reader] = await connectMany(station, 2)
  reader!.losses.pushes = true
  const ear = listen(reader!, 'a')
  for (let revision = 0; revision < 5; revision++) {
    await swap(writer!.register, 'a', revision, revision)
    await ear.hears(revision + 1)
  }
  t.true(isRising(ear.heard))
})

fact('a watch that is ended hears nothing more', async (t, station) => {
  const [writer, reader] = await connectMany(station, 2)
  const ended = listen(reader!, 'a')
  const ear = listen(reader!, 'a')
  await swap(writer!.register, 'a', 0, 1)
  await Promise.all([ended.hears(1), ear.hears(1)])
  ended.watch.unsubscribe()
  ended.watch.unsubscribe()
  await swap(writer!.register, 'a', 1, 2)
  await ear.hears(2)
  t.is(ended.heard.length, 1)
})

fact('a watch whose hearer throws goes on', async (t, station) => {
  const [writer, reader] = await connectMany(station, 2)
  const heard: number[] = []
  reader!.register.watch('a', ({ revision }) => {
    heard.push(revision)
    if (revision === 1) throw new Error('broken hearer')
  })
  await swap(writer!.register, 'a', 0, 1)
  await until('it hears the first', () => heard.includes(1))
  await swap(writer!.register, 'a', 1, 2)
  await until('it hears the second', () => heard.includes(2))
  t.deepEqual(heard, [1, 2])
})

fact('a value of the largest size is kept, and a larger one is a bug', async (t, station) => {
  const [one, other] = await connectMany(station, 2)
  const value = `${'ü'.repeat((VALUE_BYTES_MAX - 4) / 2)}xy`
  t.is(Buffer.byteLength(JSON.stringify(value)), VALUE_BYTES_MAX)
  const ear = listen(other!, 'a')
  t.deepEqual(await swap(one!.register, 'a', 0, value), { result: 'ok', revision: 1 })
  t.deepEqual(await held(other!.register, 'a'), { revision: 1, value })
  await ear.hears(1)
  t.is(ear.heard[0]!.value, value)
  t.throws(() => one!.register.swap('a', 1, `${value}z`, () => {}), { instanceOf: RangeError })
})

fact('a malformed key and a revision that is none are bugs', async (t, { connect }) => {
  const { register } = await connect()
  for (const key of ['', 'a b', 'a.b', '>', '*', 'a/b', 'ü', 'a'.repeat(128)]) {
    t.throws(() => register.read(key, () => {}), { instanceOf: TypeError }, key)
    t.throws(() => register.swap(key, 0, 1, () => {}), { instanceOf: TypeError }, key)
    t.throws(() => register.watch(key, () => {}), { instanceOf: TypeError }, key)
  }
  for (const expected of [-1, 0.5, Number.NaN])
    t.throws(() => register.swap('a', expected, 1, () => {}), { instanceOf: RangeError })
})

fact('a value that is changed AFTER the call, or by who heard it, changes nothing', async (t, station) => {
  const [one, other] = await connectMany(station, 2)
  const value = { members: [1, 2] }
  const swapped = swap(one!.register, 'a', 0, value)
  value.members.push(3)
  await swapped
  const first = await held(other!.register, 'a')
  ;(first!.value as typeof value).members.length = 0
  t.deepEqual(await held(one!.register, 'a'), { revision: 1, value: { members: [1, 2] } })
})

fact('keys have nothing to do with each other', async (t, station) => {
  const [one, other] = await connectMany(station, 2)
  const keys = ['a', 'a-b', 'a_b', '1', '__proto__', 'constructor']
  const ears = keys.map((key) => listen(other!, key))
  for (const [i, key] of keys.entries())
    for (let revision = 0; revision <= i; revision++)
      t.deepEqual(await swap(one!.register, key, revision, `${key} ${revision}`), {
        result: 'ok',
        revision: revision + 1,
      })
  for (const [i, key] of keys.entries()) {
    t.deepEqual(await held(other!.register, key), { revision: i + 1, value: `${key} ${i}` })
    await ears[i]!.hears(i + 1)
    t.true(ears[i]!.heard.every(({ value }) => String(value).startsWith(`${key} `)))
  }
})

fact('a closed register hears nothing and answers closed', async (t, station) => {
  const [one, other] = await connectMany(station, 2)
  const closed = listen(one!, 'a')
  const ear = listen(other!, 'a')
  await swap(other!.register, 'a', 0, 1)
  await closed.hears(1)
  one!.register.close()
  one!.register.close()
  await swap(other!.register, 'a', 1, 2)
  await ear.hears(2)
  t.is(closed.heard.length, 1)
  const outcome = await read(one!.register, 'a')
  t.is(!outcome.ok && outcome.failure.code, 'closed')
  const swapped = await swap(one!.register, 'a', 2, 3)
  t.is(swapped.result === 'unknown' && swapped.failure.code, 'closed')
  t.throws(() => one!.register.watch('a', () => {}), { message: /AFTER the register was closed/ })
})

fact('what happened while messages were lost at random is explained by one order', async (t, station) => {
  const seed = seedOfRun()
  t.log(`STATEMQ_SEED=${seed}`)
  const random = seededRandom(seed)
  const writers = await connectMany(station, 5)
  const ears = writers.map((member) => listen(member, 'a'))
  await Promise.all(writers.map(({ register }) => held(register, 'a')))
  const history = new SwapHistory()
  await Promise.all(
    writers.map(async ({ register, losses }, i) => {
      let expected = 0
      for (let step = 0; step < 25; step++) {
        losses.orders = random.below(5) === 0
        losses.answers = random.below(4) === 0
        losses.pushes = random.below(2) === 0
        const outcome = await history.swap(register, String(i), 'a', expected, `${i}/${step}`)
        if (outcome.result === 'ok') expected = outcome.revision
        else if (outcome.result === 'conflict') expected = outcome.held?.revision ?? 0
      }
      losses.orders = losses.answers = losses.pushes = false
    }),
  )
  t.is(faultIn(history.events), null)
  const results = new Set(history.events.map(({ outcome }) => outcome.result))
  t.deepEqual([...results].sort(), ['conflict', 'ok', 'unknown'])
  const last = (await held(writers[0]!.register, 'a'))!
  for (const { hears, heard } of ears) {
    await hears(last.revision)
    t.true(isRising(heard))
  }
})

const isMortal = (home: RegisterHome) => home.isMortal

fact(
  'what was answered ok outlives a kill',
  async (t, station) => {
    const { register } = await station.connect()
    for (let revision = 0; revision < 12; revision++) await swap(register, 'a', revision, { revision })
    await swap(register, 'b', 0, 'other')
    await station.kill()
    await station.restart()
    t.deepEqual(await heldAgain(register, 'a'), { revision: 12, value: { revision: 11 } })
    t.deepEqual(await swapSurely(register, 'a', 0, 'x'), {
      result: 'conflict',
      held: { revision: 12, value: { revision: 11 } },
    })
    t.deepEqual(await swapSurely(register, 'b', 1, 'next'), { result: 'ok', revision: 2 })
  },
  isMortal,
)

/** A server that has just started may not answer at once. */
async function heldAgain(register: Member['register'], key: string): Promise<Held | null> {
  let found: Held | null = null
  await until('the register can be read', async () => {
    const outcome = await read(register, key)
    if (outcome.ok) found = outcome.value
    return outcome.ok
  })
  return found
}

fact(
  'while it is down a read fails and a swap is unknown',
  async (t, station) => {
    const { register } = await station.connect()
    await swap(register, 'a', 0, 1)
    await station.kill()
    t.is((await swap(register, 'a', 1, 2)).result, 'unknown')
    t.false((await read(register, 'a')).ok)
    await station.restart()
    t.deepEqual(await swapSurely(register, 'a', 1, 2), { result: 'ok', revision: 2 })
  },
  isMortal,
)

fact(
  'a watch that missed a push looks for itself when it is connected again',
  async (t, station) => {
    const writer = await station.connect()
    const reader = await station.connect({ pollMs: NEVER_MS })
    await swap(writer.register, 'a', 0, 1)
    const ear = listen(reader, 'a')
    await ear.hears(1)
    reader.losses.pushes = true
    await swap(writer.register, 'a', 1, 2)
    await station.kill()
    await station.restart()
    // A look at a server that has just started may fail: then the next connection counts.
    await until('it hears what it missed', async () => {
      if (ear.heard.at(-1)!.revision === 2) return true
      const outcome = await read(reader.register, 'a')
      if (!outcome.ok) return false
      await station.kill()
      await station.restart()
      return false
    })
    t.deepEqual(
      ear.heard.map(({ revision }) => revision),
      [1, 2],
    )
  },
  isMortal,
)

fact(
  'what six writers saw while it was killed again and again is explained by one order',
  async (t, station) => {
    const writers = await connectMany(station, 6)
    const ears = writers.map((member) => listen(member, 'a'))
    const history = new SwapHistory()
    let isOver = false
    const writing = writers.map(async ({ register }, i) => {
      let expected = 0
      for (let step = 0; !isOver; step++) {
        const outcome = await history.swap(register, String(i), 'a', expected, `${i}/${step}`)
        if (outcome.result === 'ok') expected = outcome.revision
        else if (outcome.result === 'conflict') expected = outcome.held?.revision ?? 0
        else await new Promise((resolve) => setTimeout(resolve, 20))
      }
    })
    const count = (result: string) => history.events.filter(({ outcome }) => outcome.result === result).length
    for (let kills = 0; kills < 3; kills++) {
      const before = count('ok')
      await until('they write', () => count('ok') > before + 10)
      await station.kill()
      await station.restart()
    }
    const before = count('ok')
    await until('they write again', () => count('ok') > before + 10)
    isOver = true
    await Promise.all(writing)
    t.is(faultIn(history.events), null)
    t.true(count('unknown') > 0)
    const last = (await held(writers[0]!.register, 'a'))!
    for (const { hears, heard } of ears) {
      await hears(last.revision)
      t.true(isRising(heard))
    }
  },
  isMortal,
)
