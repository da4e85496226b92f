/**
 * What the programs of the repository have in common: how they are told what to do, and how they end.
 *
 * `--help` prints the usage and ends with 0. What nobody understands ends with 2 and ONE sentence that says what to do,
 * BEFORE anything was started. A long run tells what it does as it goes, and leaves nothing behind.
 */
import { parseArgs } from 'node:util'
import { nearest } from '../../actors/options.ts'

/** Each option with what counts when it is not given: a text, null for nothing, or false where it takes no value. */
type Usual = { readonly [name: string]: string | null | false }
type Values<O extends Usual> = {
  readonly [N in keyof O]: O[N] extends false ? boolean : O[N] extends string ? string : string | null
}
type Valued<O extends Usual> = { [N in keyof O & string]: O[N] extends false ? never : N }[keyof O & string]

/** Ends the program: its command line is wrong. `message` says what is, and what is allowed. */
export function fail(message: string): never {
  process.stderr.write(`${message} (--help shows all options)\n`)
  process.exit(2)
}

/** Reads the command line of this process. The usage must name every option. */
export function commandLine<const O extends Usual>(usage: string, options: O) {
  const undocumented = Object.keys(options).find((name) => !new RegExp(`--${name}\\b(?!-)`).test(usage))
  if (undocumented !== undefined) throw new Error(`the usage does not name --${undocumented}`)
  const values = valuesOf(usage, options)
  type Name = Valued<O>

  /** A whole number; `usual` when the option is not given. */
  function whole(name: Name, least: number): number
  function whole<T>(name: Name, least: number, usual: T): number | T
  function whole<T>(name: Name, least: number, usual?: T): number | T {
    const given = values[name] as string | null
    if (given === null && usual !== undefined) return usual
    const value = numberIn((given ?? '').replaceAll('_', ''))
    if (Number.isSafeInteger(value) && value >= least) return value
    return fail(`--${name} ${given}: give a whole number from ${least} on`)
  }

  function number(name: Name, least: number): number {
    const value = numberIn(values[name] as string)
    return value >= least ? value : fail(`--${name} ${values[name]}: give a number from ${least} on`)
  }

  function one<T extends string>(name: Name, choices: readonly T[]): T {
    const choice = choices.find((known) => known === (values[name] as string))
    return choice ?? fail(`--${name} ${values[name]}: give one of ${choices.join(', ')}`)
  }

  return { values, whole, number, one }
}

const numberIn = (text: string): number => (/^-?\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN)

function valuesOf<O extends Usual>(usage: string, options: O): Values<O> {
  const values: Record<string, string | boolean | null> = { ...options }
  for (const token of tokensOf(options)) {
    if (token.kind === 'positional') fail(`'${token.value}' is no option: they begin with --`)
    if (token.kind !== 'option') continue
    const { name, rawName, value } = token
    if (name === 'help') {
      process.stdout.write(usage)
      process.exit(0)
    }
    if (!rawName.startsWith('--') || !Object.hasOwn(options, name)) {
      const near = nearest(name, Object.keys(options))
      fail(`there is no option ${rawName}${near === null ? '' : `: did you mean --${near}?`}`)
    }
    const isFlag = options[name] === false
    if (isFlag && value !== undefined) fail(`--${name} ${value}: it takes no value`)
    if (!isFlag && (value === undefined || value.startsWith('--'))) fail(`--${name} needs a value after it`)
    values[name] = value ?? true
  }
  return values as Values<O>
}

const tokensOf = (options: Usual) =>
  parseArgs({
    options: {
      ...Object.fromEntries(
        Object.entries(options).map(([name, usual]) => [
          name,
          { type: usual === false ? 'boolean' : 'string' } as const,
        ]),
      ),
      help: { type: 'boolean', short: 'h' },
    },
    strict: false,
    allowPositionals: true,
    tokens: true,
  }).tokens

const began = performance.now()
export const tell = (line: string): void =>
  void process.stderr.write(`${((performance.now() - began) / 1_000).toFixed(1).padStart(7)} s  ${line}\n`)
export const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** What is left to do at the end, the last first. */
const ends: (() => unknown)[] = []
export const scope = { teardown: (end: () => unknown) => void ends.push(end) }
async function tearDown(): Promise<void> {
  for (const end of ends.splice(0).reverse()) await end()
}

/** Runs to the end, also to one by a signal, tears down, and ends with 0 when all went as it must, else with 1. */
export async function conclude(run: () => Promise<boolean>): Promise<never> {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => void tearDown().finally(() => process.exit(130)))
  try {
    process.exitCode = (await run()) ? 0 : 1
  } finally {
    await tearDown()
  }
  process.exit()
}
