/** What only the memory hub can do: a network that the test makes, and time that the test makes. */
import test from 'ava'
import { createHub } from '../../transport/memory.ts'
import type { SwitchboardOptions } from '../../transport/switchboard.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { listen } from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'

function place(options: Partial<SwitchboardOptions> = {}) {
  const clock = virtualClock()
  const hub = createHub({ clock, random: seededRandom(1), ...options })
  return { clock, hub, a: hub.connect('a'), b: hub.connect('b') }
}

test('memory hub: nothing is heard until the turn is over, then all in order', (t) => {
  const { clock, a, b } = place()
  const ear = listen(b, 'x')
  a.publish('x', Buffer.from('1'))
  a.publish('x', Buffer.from('2'))
  t.deepEqual(ear.texts, [])
  clock.settle()
  t.deepEqual(ear.texts, ['1', '2'])
})

test('memory hub: the same seed chooses the same members of a group', (t) => {
  const chosen = () => {
    const { clock, a, b } = place()
    const ears = [listen(b, 'x', 'g'), listen(b, 'x', 'g'), listen(a, 'x', 'g')]
    for (let i = 0; i < 50; i++) a.publish('x', Buffer.from(String(i)))
    clock.settle()
    return ears.map(({ texts }) => texts)
  }
  t.deepEqual(chosen(), chosen())
})

test('memory hub: a route delays, loses and repeats deliveries', (t) => {
  const clock = virtualClock()
  const links: string[] = []
  const hub = createHub({
    clock,
    random: seededRandom(1),
    route({ from, to, subject, payload }, deliver) {
      links.push(`${from} -> ${to} ${subject}`)
      if (payload.toString() === 'lost') return
      deliver()
      if (payload.toString() === 'twice') clock.setTimeout(deliver, 50)
    },
  })
  const [a, b] = [hub.connect('a'), hub.connect('b')]
  const ear = listen(b, 'x')
  for (const text of ['twice', 'lost', 'once']) a.publish('x', Buffer.from(text))
  clock.settle()
  t.deepEqual(ear.texts, ['twice', 'once'])
  ear.heard[0]!.payload.fill(0) // The repeated delivery has bytes of its own.
  clock.advance(50)
  t.deepEqual(ear.texts.slice(1), ['once', 'twice'])
  t.deepEqual(links, ['a -> b x', 'a -> b x', 'a -> b x'])
})

test('memory hub: a request whose delivery is lost times out, as somebody does listen', (t) => {
  const { clock, a, b } = place({ route: () => {} })
  listen(b, 'x')
  const codes: string[] = []
  a.request('x', Buffer.alloc(0), 100, (outcome) => codes.push(outcome.ok ? 'ok' : outcome.failure.code))
  clock.advance(200)
  t.deepEqual(codes, ['timedOut'])
})

test('memory hub: a delivery that is late finds a closed subscription closed', (t) => {
  const clock = virtualClock()
  const hub = createHub({
    clock,
    random: seededRandom(1),
    route: (_, deliver) => void clock.setTimeout(deliver, 50),
  })
  const a = hub.connect()
  const ear = listen(a, 'x')
  a.publish('x', Buffer.from('1'))
  ear.subscription.unsubscribe()
  clock.advance(100)
  t.deepEqual(ear.texts, [])
})

test('memory hub: what is under way when a connection breaks is lost', (t) => {
  const { clock, a, b } = place()
  const ear = listen(b, 'x')
  a.publish('x', Buffer.from('1'))
  b.sever()
  b.mend()
  a.publish('x', Buffer.from('2'))
  clock.settle()
  t.deepEqual(ear.texts, ['2'])
})

test('memory hub: nobody listens at a severed member', (t) => {
  const { clock, a, b } = place()
  listen(b, 'x')
  b.sever()
  const codes: string[] = []
  a.request('x', Buffer.alloc(0), 100, (outcome) => codes.push(outcome.ok ? 'ok' : outcome.failure.code))
  clock.settle()
  t.deepEqual(codes, ['noResponders'])
})

test('memory hub: without a log, what a hearer throws comes out of a timer', (t) => {
  const { clock, a } = place()
  a.subscribe('x', () => {
    throw new Error('a bug')
  })
  a.publish('x', Buffer.alloc(0))
  clock.settle()
  t.throws(() => clock.advance(0), { message: 'a bug' })
})

test('memory hub: a publisher may use its bytes again at once', (t) => {
  const { clock, a, b } = place()
  const ear = listen(b, 'x')
  const bytes = Buffer.from('first')
  a.publish('x', bytes)
  bytes.write('other')
  clock.settle()
  t.deepEqual(ear.texts, ['first'])
})
