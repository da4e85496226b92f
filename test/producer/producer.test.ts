/** Producer over a hub, with a name server and brokers of the test's own, in virtual time. */
import test from 'ava'
import type { StateMQError } from '../../actors/errors.ts'
import { createDirectory } from '../../actors/node/inspection.ts'
import type { Process } from '../../actors/node/process.ts'
import type { Receipt } from '../../actors/producer/batch.ts'
import { Producer } from '../../actors/producer/producer.ts'
import type { ProducerOptions } from '../../actors/producer/producer-options.ts'
import { encode } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { sendAnswer, setSendResult } from '../../transport/exchange.ts'
import { createHub } from '../../transport/memory.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import type { Subscription, Transport } from '../../transport/transport.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { notedLog } from '../support/transports.ts'
import { virtualClock } from '../support/virtual-clock.ts'
import { framesIn } from './support.ts'

/** `once`: stores what comes next, then is silent. `mute`: stores, and answers nothing. */
type Mood = 'stores' | 'once' | 'silent' | 'mute' | 'full'

class Stage {
  readonly clock = virtualClock()
  readonly log = notedLog()
  readonly moods = new Map<string, Mood>()
  /** What was stored, and how often each broker was asked. */
  readonly stored: string[] = []
  readonly asked = new Map<string, number>()
  /** Under which epoch each broker is master. */
  readonly epochs = new Map<string, number>()
  routesAsked = 0
  /** The name server does not answer who asks for a route. */
  hideRoutes = false
  readonly producer: Producer
  readonly servers: Transport
  readonly subjects = subjectsOf('test')
  #offset = 0
  #revision = 1
  readonly #masters = new Map<string, Subscription>()
  /** Frames that are stored, by their number. */
  readonly #known = new Map<string, number>()

  constructor(brokers: string[], options: ProducerOptions = {}, { hasNameServer = true } = {}) {
    const { clock, log, subjects } = this
    const random = seededRandom(1)
    const hub = createHub({ clock, random, log, maxPayload: 8 * 1024 * 1024 })
    this.servers = hub.connect('servers')
    for (const name of brokers) {
      this.moods.set(name, 'stores')
      this.promote(name, 1)
    }
    if (hasNameServer) this.#serveRoutes(brokers)
    const transport = hub.connect('client')
    const directory = createDirectory('p', transport, subjects, clock)
    const process: Process = {
      id: 'p',
      world: { clock, random, log, transport, disk: null as never },
      subjects,
      directory,
    }
    this.producer = new Producer(process, options, () => {})
  }

  /** Its process is gone: nobody listens, and what is under way gets no answer. */
  kill(name: string): void {
    this.#masters.get(name)?.unsubscribe()
  }

  /** A master of a later epoch, which has all that was stored. */
  promote(name: string, epoch: number): void {
    this.kill(name)
    this.epochs.set(name, epoch)
    this.#revision++
    this.#masters.set(
      name,
      this.servers.subscribe(this.subjects.broker(name, epoch).send, (request, reply) =>
        this.#receive(name, request, reply),
      ),
    )
  }

  /** What a name server says when no replica of the broker is master. */
  depose(name: string): void {
    this.epochs.set(name, 0)
    this.#revision++
  }

  push(topic: string): void {
    this.servers.publish(this.subjects.routeChanged(topic), encode(this.#routeOf(topic)))
  }

  #routeOf(topic: string) {
    const brokers = [...this.epochs].map(([brokerName, epoch]) => ({
      ...{ brokerName, epoch, incarnation: 1, dataVersion: 1 },
      ...{ readQueues: 2, writeQueues: 2, perm: 6 },
    }))
    return { topic, nameServerId: 'n', revision: this.#revision, brokers }
  }

  #serveRoutes(brokers: string[]): void {
    const rows = brokers.map((brokerName) => ({ brokerName }))
    this.servers.subscribe(this.subjects.nameServer.route, (request, reply) => {
      this.routesAsked++
      if (this.hideRoutes) return
      const { topic } = JSON.parse(request.toString()) as { topic: string }
      const value = topic === 'missing' ? null : this.#routeOf(topic)
      this.servers.publish(reply, encode({ code: 0, value }))
    })
    this.servers.subscribe(this.subjects.nameServer.cluster, (_, reply) => {
      const masters = rows.map(({ brokerName }) => ({
        ...{
          brokerName,
          brokerId: 0,
          role: 'master',
          epoch: 1,
          incarnation: 1,
          autoCreateTopic: false,
          topics: 1,
        },
      }))
      this.servers.publish(
        reply,
        encode({ code: 0, value: { nameServerId: 'n', revision: 1, brokers: masters } }),
      )
    })
  }

  #receive(name: string, request: Buffer, reply: string): void {
    this.asked.set(name, (this.asked.get(name) ?? 0) + 1)
    const mood = this.moods.get(name)
    if (mood === 'silent') return
    if (mood === 'once') this.moods.set(name, 'silent')
    if (mood === 'full') return this.servers.publish(reply, sendAnswer(codes.SERVICE_NOT_AVAILABLE, 0, 1))
    const frames = framesIn(request)
    const answer = sendAnswer(codes.SUCCESS, frames.length, this.epochs.get(name)!)
    frames.forEach(({ bodies, producerId, sequence }, i) => {
      const number = `${producerId}/${sequence}`
      const known = this.#known.get(number)
      setSendResult(answer, i, codes.SUCCESS, known ?? this.#offset)
      if (known !== undefined) return
      this.#known.set(number, this.#offset)
      this.#offset += bodies.length
      this.stored.push(...bodies)
    })
    if (mood === 'mute') return
    this.servers.publish(reply, answer)
  }

  /** Sends, and notes when it was settled. */
  send(body: string, message = {}) {
    const fate = { receipt: null as Receipt | null, error: null as StateMQError | null, at: -1 }
    this.producer.send({ topic: 'orders', body, ...message }).then(
      (receipt) => Object.assign(fate, { receipt, at: this.clock.monotonic() }),
      (error) => Object.assign(fate, { error, at: this.clock.monotonic() }),
    )
    return fate
  }

  /** Lets time pass; promises have their turn in between. */
  async pass(ms: number, step = 10): Promise<void> {
    for (let passed = 0; passed < ms; passed += step) {
      this.clock.advance(step)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

test('producer: a send is stored as soon as the route is known', async (t) => {
  const stage = new Stage(['a'])
  const fate = stage.send('1')
  await stage.pass(50)
  t.is(fate.receipt?.status, 'SEND_OK')
})

test('producer: all tries of a send share ONE time budget', async (t) => {
  const stage = new Stage(['a', 'b'])
  stage.moods.set('a', 'silent').set('b', 'silent')
  const fates = [stage.send('1'), stage.send('2', { messageGroup: 'g' })]
  await stage.pass(5_000)
  for (const { error, at } of fates) {
    t.is(error?.code, 'TIMED_OUT')
    t.true(error?.retryable)
    t.true(at >= 2_900 && at <= 3_200, `${at}`)
  }
})

test('producer: the time that a send waited for its route counts', async (t) => {
  const stage = new Stage(['a'], {}, { hasNameServer: false })
  const fate = stage.send('1')
  await stage.pass(5_000)
  t.is(fate.error?.code, 'TIMED_OUT')
  t.true(fate.at <= 3_100, `${fate.at}`)
  t.regex(fate.error!.message, /no route for 'orders' within 3000 ms/)
})

test('producer: a broker that does not answer is avoided by those that come after', async (t) => {
  const stage = new Stage(['a', 'b'])
  stage.moods.set('a', 'silent')
  for (let i = 0; i < 8; i++) stage.send(`${i}`)
  await stage.pass(3_100)
  const before = stage.asked.get('a')!
  const fates = Array.from({ length: 50 }, (_, i) => stage.send(`later ${i}`))
  await stage.pass(100)
  t.true(fates.every(({ receipt }) => receipt?.brokerName === 'b'))
  t.is(stage.asked.get('a'), before)
})

test('producer: messages without order survive a broker that does not answer, within their time', async (t) => {
  const stage = new Stage(['a', 'b'])
  stage.moods.set('a', 'silent')
  const fates = Array.from({ length: 20 }, (_, i) => stage.send(`${i}`))
  await stage.pass(3_100)
  t.deepEqual(
    fates.map(({ error }) => error),
    fates.map(() => null),
  )
  t.is(new Set(stage.stored).size, 20)
})

test('producer: a disk that is full is said to be full, after all tries', async (t) => {
  const stage = new Stage(['a'])
  stage.moods.set('a', 'full')
  const fate = stage.send('1')
  await stage.pass(3_200)
  t.is(fate.error?.code, 'SERVICE_NOT_AVAILABLE')
  t.regex(fate.error!.message, /disk/)
})

test('producer: beyond its buffer sends wait, in order, and go when there is room', async (t) => {
  const stage = new Stage(['a'], { bufferBytes: 10_000, timeoutMs: 20_000 })
  await stage.pass(0)
  stage.send('first')
  await stage.pass(50)
  stage.moods.set('a', 'silent')
  const fates = Array.from({ length: 100 }, (_, i) => stage.send(`${i}`.padEnd(1_000), { messageGroup: 'g' }))
  await stage.pass(100)
  t.true(fates.every(({ at }) => at === -1))
  stage.moods.set('a', 'stores')
  await stage.pass(15_000, 50)
  t.true(fates.every(({ receipt }) => receipt !== null))
  t.deepEqual(
    stage.stored.slice(1).map((body) => Number(body)),
    fates.map((_, i) => i),
  )
})

test('producer: what waited for room longer than its time is refused, and nothing of it is sent', async (t) => {
  const stage = new Stage(['a'], { bufferBytes: 10_000 })
  stage.send('first')
  await stage.pass(50)
  stage.moods.set('a', 'silent')
  const fates = Array.from({ length: 100 }, (_, i) => stage.send(`${i}`.padEnd(1_000), { messageGroup: 'g' }))
  await stage.pass(3_400)
  t.true(fates.every(({ error }) => error?.code === 'TIMED_OUT'))
  t.true(
    fates.every(({ at }) => at <= 3_350),
    `${Math.max(...fates.map(({ at }) => at))}`,
  )
  t.regex(fates.at(-1)!.error!.message, /no room/)
})

test('producer: the time that a send waited for room counts', async (t) => {
  const stage = new Stage(['a'], { bufferBytes: 2_000 })
  stage.send('first')
  await stage.pass(50)
  stage.moods.set('a', 'full')
  const ahead = stage.send('ahead'.padEnd(3_000), { messageGroup: 'g' })
  const fate = stage.send('waited', { messageGroup: 'g' })
  await stage.pass(2_500)
  stage.moods.set('a', 'once')
  await stage.pass(5_000)
  t.not(ahead.receipt, null)
  t.is(fate.error?.code, 'TIMED_OUT')
  t.true(fate.at <= 3_200, `${fate.at}`)
})

test('producer: beyond the waiting room sends are refused at once', async (t) => {
  const stage = new Stage(['a'], { waitingMax: 5 }, { hasNameServer: false })
  const fates = Array.from({ length: 8 }, (_, i) => stage.send(`${i}`))
  await stage.pass(10)
  t.deepEqual(
    fates.map(({ error }) => error?.code),
    [...Array.from({ length: 5 }, () => undefined), ...Array.from({ length: 3 }, () => 'TOO_MANY_REQUESTS')],
  )
})

test('producer: what waited for room is settled ONCE each, though its time ends as there is room', async (t) => {
  const stage = new Stage(['a'], { bufferBytes: 100_000, timeoutMs: 1_010 })
  stage.send('first')
  await stage.pass(50)
  stage.moods.set('a', 'silent')
  const ahead = stage.send('ahead'.padEnd(100_000))
  const fates = Array.from({ length: 600 }, (_, i) => stage.send(`${i}`))
  await stage.pass(5, 5)
  const late = Array.from({ length: 600 }, (_, i) => stage.send(`late ${i}`))
  await stage.pass(900)
  stage.moods.set('a', 'stores')
  await stage.pass(2_000)
  t.is(ahead.error?.code, 'TIMED_OUT')
  t.is([...fates, ...late].filter(({ at }) => at === -1).length, 0)
  t.is(new Set(stage.stored).size, stage.stored.length)
  let isClosed = false
  void stage.producer.close().then(() => {
    isClosed = true
  })
  await stage.pass(2_000)
  t.true(isClosed)
})

test('producer: a batch that waits is sent as it was when it was given', async (t) => {
  const stage = new Stage(['a'])
  const body = Buffer.from('mine')
  const messages = [
    { topic: 'orders', body },
    { topic: 'orders', body: 'too' },
  ]
  const sent = stage.producer.sendBatch(messages)
  body.write('else')
  messages.length = 1
  await stage.pass(50)
  t.deepEqual(stage.stored, ['mine', 'too'])
  t.is((await sent).length, 2)
})

test('producer: a send that waited for a route, and then for room, ends with its time', async (t) => {
  const stage = new Stage(['a'], { bufferBytes: 2_000, timeoutMs: 1_000 })
  stage.send('first')
  await stage.pass(50)
  stage.hideRoutes = true
  const early = stage.send('early', { topic: 'other' })
  await stage.pass(500)
  stage.moods.set('a', 'silent')
  stage.send('ahead'.padEnd(3_000))
  stage.send('waits')
  stage.push('other')
  await stage.pass(600)
  t.is(early.error?.code, 'TIMED_OUT')
  t.true(early.at <= 1_150, `${early.at}`)
})

test('producer: a topic that is missing is told of at once, and asked for again by the next send', async (t) => {
  const stage = new Stage(['a'], { createTopics: false })
  const fate = stage.send('1', { topic: 'missing' })
  await stage.pass(100)
  t.is(fate.error?.code, 'TOPIC_NOT_EXIST')
  const again = stage.send('2', { topic: 'missing' })
  await stage.pass(100)
  t.is(again.error?.code, 'TOPIC_NOT_EXIST')
})

test('producer: close() resolves AFTER everything is settled, and leaves no timer', async (t) => {
  const stage = new Stage(['a'])
  stage.moods.set('a', 'silent')
  const fates = Array.from({ length: 10 }, (_, i) => stage.send(`${i}`))
  let isClosed = false
  const closing = stage.producer.close().then(() => {
    isClosed = true
  })
  await stage.pass(1_000)
  t.false(isClosed)
  stage.moods.set('a', 'stores')
  await stage.pass(3_000)
  await closing
  t.true(fates.every(({ receipt }) => receipt !== null))
  await stage.pass(100)
  t.is(stage.clock.timers, 0)
})

test('producer: an error in selectQueue is that of its send alone', async (t) => {
  const stage = new Stage(['a'])
  const broken = stage.send('1', {
    selectQueue: () => {
      throw new Error('mine')
    },
  })
  const sound = stage.send('2')
  await stage.pass(50)
  t.is(broken.error?.message, 'mine')
  t.is(sound.receipt?.status, 'SEND_OK')
  const closing = stage.producer.close()
  await stage.pass(200)
  await t.notThrowsAsync(closing)
})

test('producer: sends of every topic that met a dead master are stored by the next one at once, in order, none of them twice', async (t) => {
  const stage = new Stage(['a'])
  stage.send('warm', { messageGroup: 'g' })
  stage.send('warm', { topic: 'others' })
  await stage.pass(50)
  stage.moods.set('a', 'mute')
  const inDoubt = stage.send('1', { messageGroup: 'g' })
  await stage.pass(10)
  stage.kill('a')
  const fates = [inDoubt, stage.send('2', { messageGroup: 'g' }), stage.send('3', { topic: 'others' })]
  await stage.pass(250)
  t.true(fates.every(({ at }) => at === -1))
  stage.moods.set('a', 'stores')
  stage.promote('a', 2)
  const promotedAt = stage.clock.monotonic()
  stage.push('orders')
  await stage.pass(100, 1)
  for (const { receipt, at } of fates) {
    t.is(receipt?.epoch, 2)
    t.true(at - promotedAt <= 5, `it took ${at - promotedAt} ms`)
  }
  t.deepEqual(
    stage.stored.filter((body) => body === '1' || body === '2'),
    ['1', '2'],
  )
})

test('producer: finds the next master within its retry interval when the news of it is lost, and does not hammer', async (t) => {
  for (const isInFlight of [true, false]) {
    const stage = new Stage(['a'])
    stage.send('warm')
    await stage.pass(50)
    if (isInFlight) stage.moods.set('a', 'silent')
    else stage.kill('a')
    const fate = stage.send('1')
    await stage.pass(10)
    stage.kill('a')
    const before = stage.routesAsked
    await stage.pass(1_000)
    const asked = stage.routesAsked - before
    t.true(asked >= 1 && asked <= 3, `the route is asked for ${asked} times in a second`)
    stage.moods.set('a', 'stores')
    stage.promote('a', 2)
    const promotedAt = stage.clock.monotonic()
    await stage.pass(1_000)
    t.is(fate.receipt?.epoch, 2)
    t.true(fate.at - promotedAt <= 550, `it took ${fate.at - promotedAt} ms`)
  }
})

test('producer: a broker whose master merely changed is not avoided', async (t) => {
  const stage = new Stage(['a', 'b'])
  stage.send('warm')
  await stage.pass(50)
  stage.kill('a')
  for (let i = 0; i < 8; i++) stage.send(`${i}`)
  await stage.pass(300)
  stage.promote('a', 2)
  stage.push('orders')
  await stage.pass(20)
  const fates = Array.from({ length: 8 }, (_, i) => stage.send(`later ${i}`))
  await stage.pass(50)
  t.deepEqual([...new Set(fates.map(({ receipt }) => receipt?.brokerName))].sort(), ['a', 'b'])
})

test('producer: a message group NEVER leaves its queue while its broker has no master', async (t) => {
  const stage = new Stage(['a', 'b'])
  const groups = Array.from({ length: 12 }, (_, i) => `group-${i}`)
  const first = groups.map((messageGroup) => stage.send('1', { messageGroup }))
  await stage.pass(50)
  stage.kill('a')
  stage.depose('a')
  stage.push('orders')
  await stage.pass(20)
  const second = groups.map((messageGroup) => stage.send('2', { messageGroup }))
  await stage.pass(500)
  stage.promote('a', 2)
  stage.push('orders')
  await stage.pass(50)
  const queueOf = ({ receipt }: { receipt: Receipt | null }) => `${receipt?.brokerName}/${receipt?.queueId}`
  t.deepEqual(second.map(queueOf), first.map(queueOf))
  t.true(first.some(({ receipt }) => receipt?.brokerName === 'a'))
})
