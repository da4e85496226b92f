#!/usr/bin/env node
/** The door: hands the command line, the terminal, the clock and the library to the commands, and leaves with their exit code. */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runCli } from '../actors/admin/cli/main.ts'
import { processTerminal } from '../actors/admin/cli/terminal.ts'
import { realClock } from '../actors/node/real-world.ts'

// A broker throws away buffers of the network, which V8 counts to a heap that is small without them: it marks all of that
// heap for every 13 MB that arrive, a fifth of a slave's time. With room for three times the heap, the collections of young
// objects free those buffers first.
setFlagsFromString('--heap-growing-percent=200')

// This file runs as dist/bin/statemq.js.
const near = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const { version } = JSON.parse(readFileSync(near('../../package.json'), 'utf8')) as { version: string }
const benchFile = near('../test/bench/main.js')

const code = await runCli(process.argv.slice(2), {
  version,
  terminal: processTerminal(),
  clock: realClock,
  library: () => import('../actors/index.ts'),
  demo: async (options) => (await import('../examples/flights.ts')).demo(options),
  benchFile: existsSync(benchFile) ? benchFile : undefined,
})
// What was printed goes out first; whatever a command left open does not keep the process.
process.stdout.write('', () => process.exit(code))
