/** Runs the tests, and what else `npm test` checks. */
import { at } from './clone.mjs'
import { capture, run } from './processes.mjs'
import { Tally } from './tally.mjs'
import { report, SetupError, step } from './words.mjs'

/** Whether the style is as it is to be; tells what is not. */
export async function checkStyle() {
  try {
    await step('Checking style (biome)', async () => {
      const biome = at('node_modules', '@biomejs', 'biome', 'bin', 'biome')
      const { code, output } = await capture(process.execPath, [biome, 'check', '.'])
      if (code !== 0) {
        throw new SetupError(`${output.trimEnd()}\n\n\`npm run format\` mends what can be mended by itself.`)
      }
    })
    return true
  } catch (error) {
    report(error)
    return false
  }
}

/** `args` are AVA's. Returns how many passed, failed and were skipped, and the exit code. */
export async function runTests(args, env) {
  // AVA runs what was compiled; people name what they wrote.
  const files = args.map((arg) => (/^test\/.*\.ts$/.test(arg) ? `dist/${arg.slice(0, -3)}.js` : arg))
  const ava = [at('node_modules', 'ava', 'entrypoints', 'cli.mjs'), ...files]
  if (args.includes('--watch') || args.includes('-w')) {
    const code = await run(process.execPath, ava, { env }).ended
    return { passed: 0, failed: code === 0 ? 0 : 1, skipped: 0, code }
  }
  // AVA sees a pipe, not the terminal; it would drop its colours.
  const colours = process.stdout.isTTY && process.env.NO_COLOR === undefined ? { FORCE_COLOR: '1' } : {}
  const tally = new Tally()
  const child = run(process.execPath, ava, {
    env: { ...env, ...colours },
    stdio: ['inherit', 'pipe', 'inherit'],
  })
  child.process.stdout.setEncoding('utf8').on('data', (chunk) => {
    process.stdout.write(chunk)
    tally.read(chunk)
  })
  return tally.result(await child.ended)
}
