/** Consumers of a group come and go: no message is lost, and while the changes are clean none is handled twice. */
import test from 'ava'
import type { Client } from '../../actors/index.ts'
import { LIMIT_MS, until } from '../support/until.ts'
import { byQueue, clusterOf, type Listener, listen, numbers, sorted } from './support.ts'

/** Sends one message after the other until it is told to stop; each group in order. */
function stream(client: Client, topic: string) {
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  let isOver = false
  let sent = 0
  const run = async () => {
    while (!isOver) {
      const batch: Promise<unknown>[] = []
      for (let i = 0; i < 20; i++) {
        const number = sent++
        batch.push(producer.send({ topic, body: `${number}`, messageGroup: `g${number % 16}` }))
      }
      await Promise.all(batch)
    }
  }
  const running = run()
  return {
    get sent() {
      return sent
    },
    async stop() {
      isOver = true
      await running
      return sent
    },
  }
}

const totalOf = (listeners: readonly Listener[]) =>
  listeners.reduce((sum, { heard }) => sum + heard.length, 0)

const owners = (listeners: readonly Listener[]) => listeners.flatMap(({ owned }) => owned).sort()

for (const ordered of [true, false]) {
  const kind = ordered ? 'an ordered' : 'a concurrent'
  test(`group: consumers that join and leave ${kind} group cleanly hand over without a duplicate and without a loss`, async (t) => {
    const cluster = await clusterOf(t, { brokers: 2 })
    const client = await cluster.connect()
    await client.admin().createTopic('orders', { queues: 4 })
    const flow = stream(client, 'orders')
    const options = { group: 'billing', from: 'first', ordered, concurrency: 4 } as const
    const handle = () => new Promise((resolve) => setTimeout(resolve, 1))
    const join = async () => listen(await cluster.connect(), 'orders', { ...options, handle })

    const all: Listener[] = []
    const present: Listener[] = []
    const come = async () => {
      const listener = await join()
      all.push(listener)
      present.push(listener)
    }
    const balanced = (count: number) =>
      until(`8 queues are divided among ${count}`, () => {
        const shares = present.map(({ owned }) => owned.length)
        return (
          shares.length === count &&
          new Set(owners(present)).size === 8 &&
          Math.min(...shares) >= Math.floor(8 / count)
        )
      })
    const goOn = async () => {
      const before = totalOf(all)
      await until('more messages are handled', () => totalOf(all) > before + 100)
    }

    await come()
    await balanced(1)
    await goOn()
    await come()
    await balanced(2)
    await goOn()
    await come()
    await balanced(3)
    await goOn()
    await present.shift()!.consumer.close()
    await balanced(2)
    await goOn()
    await present.pop()!.consumer.close()
    await balanced(1)
    await goOn()
    const sent = await flow.stop()
    await until('all that was sent is handled', () => totalOf(all) >= sent)
    await present.pop()!.consumer.close()

    const handled = all.flatMap(({ heard }) => heard)
    t.is(handled.length, sent)
    t.deepEqual(sorted(handled.map(({ text }) => text)), numbers(sent))
    if (!ordered) return
    for (const { heard } of all) {
      for (const texts of byQueue(heard).values()) t.deepEqual(texts, sorted(texts))
    }
  })
}

test('group: order is kept across a hand-over', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 2 })
  const flow = stream(client, 'orders')
  const handled: string[][] = [[], []]
  const join = async () =>
    listen(await cluster.connect(), 'orders', {
      group: 'billing',
      from: 'first',
      ordered: true,
      async handle({ queueId, text }) {
        handled[queueId]!.push(text)
        await new Promise((resolve) => setTimeout(resolve, 1))
      },
    })
  const first = await join()
  await until('the first one is at work', () => first.heard.length > 100)
  const second = await join()
  await until('the second one is at work', () => second.heard.length > 100)
  await first.consumer.close()
  const before = second.heard.length
  await until(
    'the second one has all queues',
    () => second.owned.length === 2 && second.heard.length > before + 100,
  )
  const sent = await flow.stop()
  await until('all is handled', () => handled.flat().length >= sent)
  for (const texts of handled) t.deepEqual(texts, sorted(texts))
  t.is(handled.flat().length, sent)
})

test('group: a consumer beyond the number of queues owns none and is shown as idle', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 2 })
  const options = { group: 'billing', from: 'first' } as const
  const listeners: Listener[] = []
  for (const clientId of ['a', 'b', 'c']) {
    listeners.push(await listen(await cluster.connect(), 'orders', { ...options, clientId }))
  }
  await until('the queues are divided', () => listeners.map(({ owned }) => owned.length).join() === '1,1,0')
  await until('the third one is shown as idle', async () => {
    const { idle, members } = await client.admin().group('billing')
    return members.length === 3 && idle.map(({ clientId }) => clientId).join() === 'c'
  })
  await listeners[0]!.consumer.close()
  await until('it takes over when there is a queue', () => listeners[2]!.owned.length === 1)
  t.pass()
})

test('group: a second consumer with the same client id is refused until the first one has left', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 2 })
  const options = { group: 'billing', from: 'first', clientId: 'twin' } as const
  const first = await listen(client, 'orders', options)
  t.is(first.owned.length, 2)
  const other = await cluster.connect()
  let owned = 0
  const second = other.consumer(options)
  second.assignment$.subscribe((queues) => {
    owned = queues.length
  })
  const started = second.subscribe('orders').run(() => {})
  await client.producer({ timeoutMs: LIMIT_MS }).send({ topic: 'orders', body: '1' })
  await until('the first one goes on', () => first.heard.length === 1)
  t.is(owned, 0)
  const { members } = await client.admin().group('billing')
  t.is(members.length, 1)
  await first.consumer.close()
  await until('the second one takes over', () => owned === 2)
  await started
})

test('group: what a consumer was handling when it left is finished by it, and handled by nobody else', async (t) => {
  const cluster = await clusterOf(t)
  const client = await cluster.connect()
  await client.admin().createTopic('orders', { queues: 1 })
  let finish = () => {}
  const first = await listen(client, 'orders', {
    group: 'billing',
    from: 'first',
    handle: () =>
      new Promise<void>((resolve) => {
        finish = resolve
      }),
  })
  const producer = client.producer({ timeoutMs: LIMIT_MS })
  await producer.send({ topic: 'orders', body: '1' })
  await until('it is at work', () => first.heard.length === 1)
  const second = await listen(await cluster.connect(), 'orders', { group: 'billing', from: 'first' })
  const closing = first.consumer.close()
  await producer.send({ topic: 'orders', body: '2' })
  t.is(second.heard.length, 0)
  finish()
  await closing
  await until('the second one reads on', () => second.texts.join() === '2')
  t.is(first.heard.length, 1)
})
