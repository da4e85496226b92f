/** The far end of the bare pipe: walks the frames, checks them, writes them, answers. */
import { openSync, writev } from 'node:fs'
import { join } from 'node:path'
import { connect, type Msg } from 'nats'
import { frameBytesAt, frameFault, stampFrame } from '../../transport/frames.ts'

const file = openSync(join(process.argv[3]!, 'pipe.log'), 'w')
const nc = await connect({ servers: process.argv[2]! })
let waiting: Msg[] = []
let isWriting = false
const ok = Buffer.alloc(16)

function write(): void {
  if (isWriting || waiting.length === 0) return
  isWriting = true
  const messages = waiting
  waiting = []
  writev(
    file,
    messages.map(({ data }) => data),
    (error) => {
      if (error) throw error
      isWriting = false
      for (const message of messages) message.respond(ok)
      write()
    },
  )
}

nc.subscribe('bench.pipe', {
  callback: (_, message) => {
    const bytes = Buffer.from(message.data.buffer, message.data.byteOffset, message.data.length)
    for (let at = 0; at < bytes.length; at += frameBytesAt(bytes, at)) {
      if (frameFault(bytes, at, bytes.length) !== null) throw new Error('a frame was damaged')
      stampFrame(bytes, at, 1, 0, 0)
    }
    waiting.push(message)
    setImmediate(write)
  },
})
await nc.flush()
process.send!('ready')
