/** A process that serves the register from a folder, over a listener of its own; the tests kill it. */
import { argv } from 'node:process'
import { realDisk } from '../../actors/node/disk.ts'
import { createHub } from '../../transport/memory.ts'
import { tryServe } from './registers.ts'
import { clock, notedLog, openListener, random } from './transports.ts'

const [folder, port] = argv.slice(2)
const hub = createHub({ clock, random, log: notedLog() })
await tryServe(hub.connect(), realDisk, folder)
const { url } = await openListener({ hub, port: Number(port) })
console.log(JSON.stringify({ servers: url }))
