/** The nats-server that the tests hold our transports against: one that is there, or one that is installed. */
import fs from 'node:fs'
import path from 'node:path'
import { withLock } from './lock.mjs'
import { capture } from './processes.mjs'
import { SetupError, step } from './words.mjs'

/** Its path. */
async function natsServer() {
  const found = findNatsServer()
  if (found !== undefined) return found

  const isRoot = typeof process.getuid === 'function' && process.getuid() === 0
  if (isRoot && findProgram('apt-get') !== undefined) {
    await withLock(() =>
      step('Installing nats-server (apt-get)', async () => {
        const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
        const update = await capture('apt-get', ['update', '-q'], { env })
        const get = await capture(
          'apt-get',
          ['install', '-q', '-y', '--no-install-recommends', 'nats-server'],
          { env },
        )
        if (get.code !== 0) {
          throw new SetupError(
            `${update.output}${get.output.trimEnd()}\n\napt-get could not install nats-server; its own words stand above.\n` +
              'Put a nats-server (2.9 or newer) on the PATH, then run the same command again.',
          )
        }
        // The package starts a service on the port that `statemq start` listens on. The tests start their own.
        if (fs.existsSync('/run/systemd/system'))
          await capture('systemctl', ['disable', '--now', 'nats-server'])
      }),
    )
    const installed = findNatsServer()
    if (installed !== undefined) return installed
  }
  throw new SetupError(
    'The tests need a nats-server (2.9 or newer), and none is on the PATH.\n' +
      'Debian and Ubuntu: sudo apt-get install nats-server     macOS: brew install nats-server\n' +
      'or put the program from nats.io on the PATH, then run the same command again.',
  )
}

const findNatsServer = () =>
  findProgram('nats-server', ['/usr/sbin', '/usr/local/sbin', '/usr/local/bin', '/opt/homebrew/bin'])

function findProgram(name, more = []) {
  const folders = [
    ...(process.env.PATH ?? '').split(path.delimiter).filter((folder) => folder !== ''),
    ...more,
  ]
  const file = process.platform === 'win32' ? `${name}.exe` : name
  for (const folder of folders) {
    const candidate = path.join(folder, file)
    try {
      fs.accessSync(candidate, fs.constants.X_OK)
      if (fs.statSync(candidate).isFile()) return candidate
    } catch {
      // Not here: look on.
    }
  }
  return undefined
}

/** The environment of programs that need one. */
export async function withNatsServer() {
  const program = await natsServer()
  return {
    ...process.env,
    PATH: `${process.env.PATH ?? ''}${path.delimiter}${path.dirname(program)}`,
    STATEMQ_NATS_SERVER: program,
  }
}
