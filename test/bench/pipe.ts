/**
 * The bare pipe: the same bytes batched, carried, checked, written and answered, with no messaging in between. What
 * StateMQ reaches of it says what its topics, queues, sequences and guarantees cost.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connect, createInbox } from 'nats'
import { FRAME_HEAD_BYTES, kinds, RECORD_HEAD_BYTES, sealFrame } from '../../transport/frames.ts'
import type { Options } from './main.ts'
import { residentBytesOf, type Side } from './sides.ts'

const REQUESTS_MAX = 4

type Batch = { bytes: Buffer; size: number; count: number; resolves: (() => void)[] }

export async function barePipe(servers: string, { queues }: Options): Promise<Side> {
  const dir = mkdtempSync(join(tmpdir(), 'statemq-bench-'))
  const sink = fork(fileURLToPath(new URL('pipe-sink.js', import.meta.url)), [servers, dir])
  await once(sink, 'message')
  const nc = await connect({ servers, noAsyncTraces: true })
  const inbox = createInbox()
  const underWay = new Map<number, Batch[]>()
  let requests = 0
  let turn = 0
  let isWanted = false
  let open: (Batch | null)[] = new Array(queues).fill(null)

  nc.subscribe(`${inbox}.*`, {
    callback: (_, message) => {
      const token = Number(message.subject.slice(inbox.length + 1))
      const batches = underWay.get(token)!
      underWay.delete(token)
      for (const { resolves } of batches) for (const resolve of resolves) resolve()
      want()
    },
  })

  function want(): void {
    if (isWanted) return
    isWanted = true
    setImmediate(flush)
  }

  function flush(): void {
    isWanted = false
    if (underWay.size >= REQUESTS_MAX) return
    const batches = open.filter((batch) => batch !== null)
    if (batches.length === 0) return
    open = new Array(queues).fill(null)
    for (const batch of batches) {
      const { bytes, count } = batch
      sealFrame(bytes, 0, batch.size, {
        ...{
          kind: kinds.messages,
          bornTime: 0,
          producerId: 0,
          sequence: 0,
          queueId: 0,
          count,
          topicBytes: 0,
        },
      })
    }
    const token = ++requests
    underWay.set(token, batches)
    const payload = Buffer.concat(batches.map(({ bytes, size }) => bytes.subarray(0, size)))
    nc.publish('bench.pipe', payload, { reply: `${inbox}.${token}` })
  }

  const send = (body: Buffer): Promise<void> =>
    new Promise((resolve) => {
      const queue = turn++ % queues
      let batch = open[queue] ?? null
      if (batch === null) {
        batch = { bytes: Buffer.allocUnsafe(64 * 1024), size: FRAME_HEAD_BYTES, count: 0, resolves: [] }
        open[queue] = batch
      }
      const recordBytes = RECORD_HEAD_BYTES + body.length
      if (batch.size + recordBytes > batch.bytes.length) {
        batch.bytes = Buffer.concat([batch.bytes, Buffer.allocUnsafe(batch.bytes.length + recordBytes)])
      }
      batch.bytes.writeUInt32LE(recordBytes, batch.size)
      batch.bytes.set(body, batch.size + RECORD_HEAD_BYTES)
      batch.size += recordBytes
      batch.count++
      batch.resolves.push(resolve)
      want()
    })

  return {
    name: 'pipe',
    send,
    async fill() {
      throw new Error('the bare pipe stores no backlog')
    },
    async consumeAll() {
      throw new Error('the bare pipe has no consumer')
    },
    residentBytes: () => residentBytesOf(sink.pid!),
    async close() {
      await nc.close()
      sink.kill()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
