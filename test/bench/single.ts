/** Figures of one thing at a time: a send against a NATS request, and the start of an embedded cluster. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connect } from 'nats'
import type { Options } from './main.ts'
import { launch, residentBytesOf, type Side, stop } from './sides.ts'

const WARM_UP = 2_000

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!
const round = (ms: number): number => Math.round(ms * 1_000) / 1_000

/** One send after the other, in turn with one request to a responder in another process. */
export async function measureLatency(side: Side, servers: string, { size, seconds, rounds }: Options) {
  const responder = fork(fileURLToPath(new URL('responder.js', import.meta.url)), [servers])
  await once(responder, 'message')
  const nc = await connect({ servers, noAsyncTraces: true })
  const body = Buffer.alloc(size, 'x')
  const sends: number[] = []
  const requests: number[] = []
  const timed = async (times: number[], run: () => Promise<unknown>) => {
    const began = performance.now()
    await run()
    times.push(performance.now() - began)
  }
  try {
    const end = performance.now() + seconds * rounds * 1_000
    while (performance.now() < end || sends.length < WARM_UP * 2) {
      await timed(sends, () => side.send(body))
      await timed(requests, () => nc.request('bench.echo', body))
    }
  } finally {
    await nc.close()
    responder.kill()
  }
  const send = median(sends.slice(WARM_UP))
  const request = median(requests.slice(WARM_UP))
  return {
    sends: sends.length - WARM_UP,
    sendMs: round(send),
    natsRequestMs: round(request),
    ratioToNatsRequest: round(send / request),
  }
}

/** From the start of the process to the moment that it says it is ready. */
export async function measureStart(rounds: number) {
  const times: number[] = []
  let residentMiB = 0
  for (let i = 0; i < rounds; i++) {
    const dir = mkdtempSync(join(tmpdir(), 'statemq-bench-'))
    const began = performance.now()
    const { child } = await launch(['start', '--brokers', '2', '--port', '0', '--dir', dir])
    times.push(performance.now() - began)
    residentMiB = Math.round(residentBytesOf(child.pid!) / 2 ** 20)
    await stop(child)
    rmSync(dir, { recursive: true, force: true })
  }
  return { startMs: Math.round(median(times)), slowestMs: Math.round(Math.max(...times)), residentMiB }
}
