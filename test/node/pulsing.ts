/** A pulse in a process of its own. Arguments: servers, and 'beat' or 'stop': whether it goes on or is stopped at once. */
import { consoleLog, realClock } from '../../actors/node/real-world.ts'
import { threadPulse } from '../../actors/node/thread-pulse.ts'
import { beatOf, subjects } from './pulse-support.ts'

const [servers, way] = process.argv.slice(2) as [string, 'beat' | 'stop']
const world = { clock: realClock, log: consoleLog({ level: 'warn' }) }
const pulse = threadPulse(world, { subjects, beat: beatOf(), connection: { servers } })
process.stdout.write(`${JSON.stringify({ ready: true, servers })}\n`)
if (way === 'stop') {
  pulse.update(beatOf({ role: 'stopping' }))
  pulse.stop(() => process.stdout.write('stopped\n'))
}
