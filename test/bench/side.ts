/**
 * One side of the benchmark in a process of its own: what the other side's code does to the compiler and to the heap of
 * its process must not count. It carries out what the benchmark asks of it, one thing at a time.
 */
import type { Options } from './main.ts'
import { measureConsume, measureSend } from './measure.ts'
import { barePipe } from './pipe.ts'
import { jetStream, type Mode, type Side, stateMq } from './sides.ts'
import { measureLatency } from './single.ts'

export type SideName = 'statemq' | 'async' | 'alone' | 'jetstream' | 'jetstream-tuned' | 'pipe'
export type Task = 'send' | 'consume' | 'latency' | 'fill' | 'residentBytes' | 'close'
export type Answer = { value?: unknown; error?: string }

const [name, servers, mode, json] = process.argv.slice(2) as [SideName, string, string, string]
const options = JSON.parse(json) as Options

const side: Side =
  name === 'jetstream' || name === 'jetstream-tuned'
    ? await jetStream(servers, name === 'jetstream-tuned', options)
    : name === 'pipe'
      ? await barePipe(servers, options)
      : await stateMq(name, servers, JSON.parse(mode) as Mode, options)

const tasks: Record<Task, () => unknown> = {
  send: () => measureSend(side, options),
  consume: () => measureConsume(side, options),
  latency: () => measureLatency(side, servers, options),
  fill: () => side.fill(options.backlog),
  residentBytes: () => side.residentBytes(),
  close: () => side.close(),
}

process.on('message', async (task: Task) => {
  let answer: Answer
  try {
    answer = { value: await tasks[task]() }
  } catch (error) {
    answer = { error: String(error) }
  }
  process.send!(answer, () => {
    if (task === 'close') process.exit(0)
  })
})
process.send!({} satisfies Answer)
