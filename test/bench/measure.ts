/** Rounds under load: how many a second, and how long each took. */
import { createHistogram } from 'node:perf_hooks'
import type { Options } from './main.ts'
import type { Side } from './sides.ts'

export type Run = {
  perSecond: number
  messages: number
  /** Of a send, milliseconds; absent where messages are consumed. */
  latencyMs?: { p50: number; p99: number; p999: number; max: number }
}

/** One send of so many is timed: timing each would cost as much as a good part of sending it. */
const SAMPLE = 16

/** Before reading, so many messages are stored when there is no backlog. */
const CONSUME_MESSAGES = 1_000_000
const CONSUME_MESSAGES_JETSTREAM = 200_000

export async function measureSend(side: Side, { size, inFlight, seconds }: Options): Promise<Run> {
  const body = Buffer.alloc(size, 'x')
  const histogram = createHistogram({ figures: 3, highest: 60_000_000_000 })
  let messages = 0
  let isOver = false
  const worker = async () => {
    while (!isOver) {
      if (messages++ % SAMPLE !== 0) await side.send(body)
      else {
        const sentAt = performance.now()
        await side.send(body)
        histogram.record(Math.max(1, Math.round((performance.now() - sentAt) * 1e6)))
      }
    }
  }
  const began = performance.now()
  setTimeout(() => {
    isOver = true
  }, seconds * 1_000)
  await Promise.all(Array.from({ length: inFlight }, worker))
  const took = (performance.now() - began) / 1_000
  const ms = (nanoseconds: number) => Math.round(nanoseconds / 1e4) / 100
  return {
    perSecond: Math.round(messages / took),
    messages,
    latencyMs: {
      p50: ms(histogram.percentile(50)),
      p99: ms(histogram.percentile(99)),
      p999: ms(histogram.percentile(99.9)),
      max: ms(histogram.max),
    },
  }
}

const stored = new Map<string, number>()

export async function measureConsume(side: Side, { backlog }: Options): Promise<Run> {
  let messages = stored.get(side.name) ?? backlog
  if (messages === 0) {
    messages = side.name.startsWith('jetstream') ? CONSUME_MESSAGES_JETSTREAM : CONSUME_MESSAGES
    await side.fill(messages)
  }
  stored.set(side.name, messages)
  const { seconds } = await side.consumeAll(messages)
  return { perSecond: Math.round(messages / seconds), messages }
}
