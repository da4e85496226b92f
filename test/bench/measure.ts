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

/** Before reading, so many messages are stored when there is no backlog. */
const CONSUME_MESSAGES = 1_000_000
const CONSUME_MESSAGES_JETSTREAM = 200_000

export async function measureSend(side: Side, { size, inFlight, seconds }: Options): Promise<Run> {
  const body = Buffer.alloc(size, 'x')
  const histogram = createHistogram({ figures: 3, highest: 60_000_000_000 })
  let messages = 0
  const began = performance.now()
  const end = began + seconds * 1_000
  let now = began
  const worker = async () => {
    while (now < end) {
      const sentAt = now
      await side.send(body)
      now = performance.now()
      messages++
      histogram.record(Math.max(1, Math.round((now - sentAt) * 1e6)))
    }
  }
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
    messages = side.name === 'jetstream' ? CONSUME_MESSAGES_JETSTREAM : CONSUME_MESSAGES
    await side.fill(messages)
  }
  stored.set(side.name, messages)
  const { seconds } = await side.consumeAll(messages)
  return { perSecond: Math.round(messages / seconds), messages }
}
