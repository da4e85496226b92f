/** Flow control: what all queues of a consumer hold together, and that each of them goes on. */
import test from 'ava'
import fc from 'fast-check'
import { CacheBudget, defaultFlow, FlowControl } from '../../actors/consumer/flow-control.ts'

const MIB = 1024 * 1024

test('budget: a few queues pull as much as they can', (t) => {
  const budget = new CacheBudget(defaultFlow.totalBytes)
  budget.setQueues(16)
  t.is(budget.pullBytes, 256 * 1024)
})

test('budget: 10,000 queues ask for as much as there is room for', (t) => {
  const budget = new CacheBudget(defaultFlow.totalBytes)
  budget.setQueues(10_000)
  t.true(budget.pullBytes * 10_000 <= 64 * MIB)
  t.true(budget.pullBytes > 4 * 1024)
})

test('budget: a queue with nothing cached pulls while another one holds almost all', (t) => {
  const budget = new CacheBudget(8 * MIB)
  budget.setQueues(2)
  budget.add(7 * MIB + 512 * 1024)
  const queue = { want: () => t.fail() }
  t.false(budget.mayPull(queue, 1))
  t.true(budget.mayPull(queue, 0))
})

test('budget: a queue that found no room is told when there is some, once', (t) => {
  const budget = new CacheBudget(8 * MIB)
  budget.setQueues(1)
  budget.add(8 * MIB)
  let told = 0
  t.false(budget.mayPull({ want: () => void told++ }, 1))
  budget.remove(100)
  t.is(told, 0)
  budget.remove(MIB)
  t.is(told, 1)
  budget.remove(MIB)
  t.is(told, 1)
})

test('budget: a queue that was given back is told nothing', (t) => {
  const budget = new CacheBudget(8 * MIB)
  budget.add(8 * MIB)
  const queue = { want: () => t.fail() }
  budget.mayPull(queue, 1)
  budget.forget(queue)
  budget.remove(8 * MIB)
  t.pass()
})

/** A queue that pulls as the reader does; what it pulls arrives when the test says so. */
class Queue {
  cached = 0
  pulling = 0
  readonly #budget: CacheBudget
  constructor(budget: CacheBudget) {
    this.#budget = budget
  }
  want(): void {
    if (this.pulling > 0 || !this.#budget.mayPull(this, this.cached)) return
    this.pulling = this.#budget.pullBytes
  }
  arrive(part: number): void {
    const bytes = Math.max(1, Math.floor(this.pulling * part))
    if (this.pulling === 0) return
    this.pulling = 0
    this.cached += bytes
    this.#budget.add(bytes)
    this.want()
  }
  finish(part: number): void {
    const bytes = Math.ceil(this.cached * part)
    this.cached -= bytes
    this.#budget.remove(bytes)
    this.want()
  }
}

test('budget: what is counted stays AT MOST totalBytes, and every queue goes on in the end', (t) => {
  const part = fc.double({ min: 0, max: 1, noNaN: true })
  const step = fc.record({ queue: fc.nat(19), isArrival: fc.boolean(), part })
  const course = fc.record({
    total: fc.integer({ min: 10_000, max: 20 * MIB }),
    count: fc.integer({ min: 1, max: 20 }),
    steps: fc.array(step, { maxLength: 300 }),
  })
  fc.assert(
    fc.property(course, ({ total, count, steps }) => {
      const budget = new CacheBudget(total)
      budget.setQueues(count)
      const queues = Array.from({ length: count }, () => new Queue(budget))
      for (const queue of queues) queue.want()
      for (const { queue: index, isArrival, part } of steps) {
        const queue = queues[index % count]!
        if (isArrival) queue.arrive(part)
        else queue.finish(part)
        if (budget.cachedBytes > total) return false
        if (budget.cachedBytes !== queues.reduce((sum, { cached }) => sum + cached, 0)) return false
      }
      for (const queue of queues) queue.finish(1)
      return queues.every(({ pulling }) => pulling > 0)
    }),
    { numRuns: 500 },
  )
  t.pass()
})

const queuesOf = (topic: string, count: number) =>
  Array.from({ length: count }, (_, queueId) => ({
    reader: {
      ref: { topic, brokerName: 'a', queueId },
      told: 0,
      want() {
        this.told++
      },
    },
  }))

test('flow: limits of a topic are divided by its owned queues, in place of those of a queue', (t) => {
  const flow = new FlowControl({ ...defaultFlow, topicMessages: 100, topicBytes: 1_000 })
  flow.divide([...queuesOf('orders', 3), ...queuesOf('payments', 1)])
  t.deepEqual(flow.limitsOf('orders'), { messages: 33, bytes: 333 })
  t.deepEqual(flow.limitsOf('payments'), { messages: 100, bytes: 1_000 })
})

test('flow: a queue of a topic with a limit gets at least 1', (t) => {
  const flow = new FlowControl({ ...defaultFlow, topicMessages: 5, topicBytes: 5 })
  flow.divide(queuesOf('orders', 100))
  t.deepEqual(flow.limitsOf('orders'), { messages: 1, bytes: 1 })
})

test('flow: without a limit of the topic each queue has its own', (t) => {
  const flow = new FlowControl(defaultFlow)
  flow.divide(queuesOf('orders', 100))
  t.deepEqual(flow.limitsOf('orders'), { messages: 1_000, bytes: 100 * MIB })
})

test('flow: queues that are left get more, and go on', (t) => {
  const flow = new FlowControl({ ...defaultFlow, topicMessages: 100 })
  const limits = flow.limitsOf('orders')
  const queues = queuesOf('orders', 2)
  flow.divide(queues)
  t.is(limits.messages, 50)
  flow.divide(queues.slice(0, 1))
  t.is(limits.messages, 100)
  t.deepEqual(
    queues.map(({ reader }) => reader.told),
    [1, 0],
  )
})
