/** The house rules that a program can check. A rule that no sample breaks is no rule: each has one, at the end. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { type AnyStateMachine, type AnyStateNode, initialTransition } from 'xstate'
import { allNodes, machines, waysOf } from './support/machines.ts'

/** An example of each machine's input: one that is added gets its own here. */
const inputs: Record<string, object> = {
  'broker-role': { brokerName: 'a', brokerId: 0 },
  controller: { controllerId: 'c', brokerName: 'a' },
  'group-coordinator': { group: 'g' },
  'name-server': { nameServerId: 'n' },
  'producer-route': { topic: 't', createTopic: true },
  'queue-owner': { assignEpoch: 0, owner: null },
  rebalancer: { group: 'g', member: { clientId: 'c', instance: 'i', subscriptions: {}, isStatic: false } },
  supervisor: { name: 'a' },
}

/** What effects begin with. One verb for one kind of order: look whether an old one would do before you add one. */
const verbs = [
  'accept',
  'announce',
  'await',
  'claim',
  'close',
  'collect',
  'count',
  'create',
  'drain',
  'drop',
  'empty',
  'follow',
  'grant',
  'hold',
  'join',
  'leave',
  'load',
  'mark',
  'measure',
  'note',
  'open',
  'persist',
  'probe',
  'push',
  'raise',
  'read',
  'record',
  'refuse',
  'register',
  'reject',
  'release',
  'report',
  'request',
  'send',
  'serve',
  'start',
  'stop',
  'swap',
  'truncate',
  'unregister',
  'watch',
]

// --------------------------------------------------------------------------------------------------- the sources

type Rule = { holdsFor: (file: string) => boolean; forbids: RegExp; says: string }

const isMachine = (file: string) => file.startsWith('machines/')
const isProduction = (file: string) => /^(actors|machines|transport)\//.test(file)
/** The node's own files, and those that a user names on the command line. */
const isHomeOfFiles = (file: string) => ['actors/node/disk.ts', 'actors/admin/cli/terminal.ts'].includes(file)
const isRealWorld = (file: string) => file === 'actors/node/real-world.ts'

const rules: Rule[] = [
  {
    holdsFor: (file) => file.startsWith('bin/setup'),
    forbids: /\b(from|import)\s*\(?\s*'(?!node:|\.{1,2}\/)[^']*'/,
    says: 'the set-up runs before anything is installed: it needs Node and nothing else',
  },
  {
    holdsFor: isMachine,
    forbids:
      /\b(from|import)\s*\(?\s*'(?!xstate'|\.{1,2}\/(?!.*\b(actors|transport|test|bin|examples)\/))[^']*'/,
    says: 'machines/ imports xstate and itself only',
  },
  {
    holdsFor: isMachine,
    forbids: /\b(Date|Math\.random|performance|crypto|setTimeout|setInterval|setImmediate|queueMicrotask)\b/,
    says: 'machines/ knows neither clock nor chance: time enters by named delays, chance by events',
  },
  {
    holdsFor: isMachine,
    forbids: /\b(Promise|async|await|process|console|globalThis|Buffer)\b/,
    says: 'machines/ decides and does nothing else',
  },
  {
    holdsFor: isMachine,
    forbids: /\b(invoke|spawn|spawnChild|sendTo|sendParent|emit|fromPromise|fromCallback|fromObservable)\b/,
    says: 'a protocol machine has no actors of its own: it gives orders as effects',
  },
  {
    holdsFor: (file) => isProduction(file) && !isHomeOfFiles(file),
    forbids: /\b(from|import)\s*\(?\s*'(node:)?fs(\/promises)?'/,
    says: 'files are reached through the disk port (actors/node/disk.ts)',
  },
  {
    holdsFor: (file) => isProduction(file) && !isRealWorld(file),
    forbids:
      /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b|\bhrtime\b|\bMath\.random\b|\brandom(Bytes|UUID|FillSync|Int)\b/,
    says: 'time and chance come from the World (actors/node/real-world.ts)',
  },
  {
    // A call of the global; `clock.setTimeout(…)` and a method that is declared or defined under the name are none.
    holdsFor: (file) => isProduction(file) && !isRealWorld(file),
    forbids:
      /(?<![.\w])(setTimeout|setInterval|setImmediate|queueMicrotask)\((?!\w+:|[\w, ]*\)\s*[:{])|\bnextTick\b/,
    says: 'timers are set on the clock of the World',
  },
]

const kept = /\b(?:from|import)\s*\(?\s*'[^']*'/
const comments = /\/\*[\s\S]*?\*\/|\/\/[^\n]*/
const strings = /'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`/
const tokens = new RegExp([kept, comments, strings].map(({ source }) => source).join('|'), 'g')

/** The source without what its comments and strings say; line for line, and with what a template computes. */
const codeOf = (source: string): string =>
  source.replace(tokens, (found) => {
    if (/^(from|import)/.test(found)) return found
    return found.replace(/\$\{[^}]*\}|[^\n]/g, (part) =>
      found.startsWith('`') && part.length > 1 ? part : ' ',
    )
  })

function faultsIn(file: string, source: string): string[] {
  const code = codeOf(source)
  return rules
    .filter(({ holdsFor, forbids }) => holdsFor(file) && forbids.test(code))
    .map(({ forbids, says }) => `${file}:${lineOf(code, forbids)}: ${says}`)
}
const lineOf = (code: string, found: RegExp): number => code.slice(0, code.search(found)).split('\n').length

const sourcesIn = (folder: string, ext = '.ts'): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ext))
    .map((name) => path.posix.join(folder, ...name.split(path.sep)))
    .sort()

test('tidy: every source keeps to the borders of its folder', (t) => {
  const files = [
    ...['actors', 'machines', 'transport'].flatMap((folder) => sourcesIn(folder)),
    ...sourcesIn('bin', '.mjs'),
  ]
  t.true(files.includes('bin/setup.mjs'))
  t.deepEqual(
    files.flatMap((file) => faultsIn(file, readFileSync(file, 'utf8'))),
    [],
  )
})

test('tidy: every file of machines/ opens with what it is', (t) => {
  const silent = sourcesIn('machines').filter((file) => !readFileSync(file, 'utf8').startsWith('/**'))
  t.deepEqual(silent, [])
})

// -------------------------------------------------------------------------------------------------- the machines

function faultsOf(machine: AnyStateMachine, input: object): string[] {
  const nodes = allNodes(machine.root)
  const effects = Object.keys(machine.implementations.actions)
  const events = machine.events.filter((event) => !event.startsWith('xstate.'))
  const [{ context }] = initialTransition(machine, input)
  return [
    ...events
      .filter((event) => !/^[a-z][a-zA-Z]*\.[a-z]+(Up)?$/.test(event))
      .map((event) => `event '${event}' is not named thing.participle`),
    ...effects
      .filter((effect) => !verbs.some((verb) => new RegExp(`^${verb}[A-Z][A-Za-z]*$`).test(effect)))
      .map((effect) => `effect '${effect}' is not named verbObject, or its verb is new`),
    ...(JSON.stringify(plain(context)) === JSON.stringify(context) ? [] : ['the context is not plain JSON']),
    ...nodes
      .filter((node) =>
        actionsOf(node).some((action) => typeof action === 'function' && !('resolve' in action)),
      )
      .map((node) => `state '${node.path.join('.')}' carries something out: order it as an effect`),
    ...nodes
      .flatMap(waysOf)
      .filter(({ label }) => /^after \d/.test(label))
      .map(({ label }) => `'${label}': a delay has a name`),
  ]
}

const actionsOf = (node: AnyStateNode): unknown[] => [
  ...node.entry,
  ...node.exit,
  ...[...node.transitions.values()].flat().flatMap(({ actions }) => actions),
]

/** A copy that keeps only what JSON knows; what it does not know shows as a difference. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return typeof value === 'function' ? 'a function' : value
  if (Object.getPrototypeOf(value) !== Object.prototype) return `a ${value.constructor.name}`
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]))
}

for (const [name, machine] of machines) {
  test(`tidy: ${name} keeps to the rules of a machine`, (t) => {
    t.deepEqual(
      faultsOf(machine, inputs[name] ?? t.fail('give an example of its input in test/tidy.test.ts')),
      [],
    )
  })

  test(`tidy: ${name} opens with its chart and with the RocketMQ file that it answers to`, (t) => {
    const [header] = readFileSync(`machines/${name}.ts`, 'utf8').split('*/')
    t.regex(header!, /^\/\*\*\n \* [A-Z]\w+: /)
    t.regex(header!, /──▶/)
    t.regex(header!, /RocketMQ/)
    t.regex(header!, /NEVER|AT MOST ONCE|AFTER|BEFORE|HIGHER EPOCH/)
  })

  test(`tidy: ${name} has a test`, (t) => {
    t.true(existsSync(`test/machines/${name}.test.ts`))
  })
}

// ----------------------------------------------------------------------------------------- the rules themselves

const broken: [file: string, code: string][] = [
  ['bin/setup/x.mjs', "import { parse } from 'commander'"],
  ['bin/setup.mjs', "const { parse } = await import('zod')"],
  ['machines/x.ts', "import { Subject } from 'rxjs'"],
  ['machines/x.ts', "import { frame } from '../transport/frames.ts'"],
  ['machines/x.ts', 'const at = Date.now()'],
  ['machines/x.ts', 'export const pick = () => Math.random()'],
  ['machines/x.ts', `const at = \`at \${Date.now()}\``],
  ['machines/x.ts', 'setTimeout(run, 1)'],
  ['machines/x.ts', 'console.log(1)'],
  ['machines/x.ts', 'spawnChild(other)'],
  ['actors/broker/x.ts', "import { readFileSync } from 'node:fs'"],
  ['actors/broker/x.ts', "import fs from 'fs/promises'"],
  ['actors/broker/x.ts', 'const at = new Date()'],
  ['transport/x.ts', 'setTimeout(() => run(), 5)'],
  ['transport/x.ts', 'setImmediate(run)'],
  ['transport/x.ts', 'const id = randomUUID()'],
]
for (const [file, code] of broken) {
  test(`tidy: finds ${code} in ${file}`, (t) => {
    t.is(faultsIn(file, `// A line before it.\n${code}\n`).length >= 1, true)
  })
}

const fine: [file: string, code: string][] = [
  ['bin/setup/x.mjs', "import fs from 'node:fs'\nimport { at } from './clone.mjs'"],
  ['machines/x.ts', "import { setup } from 'xstate'"],
  ['machines/allocation/x.ts', "import { compareQueues } from '../topic.ts'"],
  ['machines/x.ts', `const says = \`give this process \${a} name\``],
  ['machines/x.ts', "// No Date, no Promise.\nconst says = 'await the process'"],
  ['machines/x.ts', "/** Leads from 'rxjs' to nothing. */"],
  ['actors/broker/x.ts', 'clock.setTimeout(run, 5)'],
  ['actors/broker/x.ts', 'setTimeout(run: () => void, ms: number): unknown'],
  ['actors/broker/x.ts', 'const shown = new Date(at).toISOString()'],
  ['actors/node/disk.ts', "import { open } from 'node:fs'"],
  ['actors/node/real-world.ts', 'const now = () => Date.now()'],
]
for (const [file, code] of fine) {
  test(`tidy: lets pass ${code} in ${file}`, (t) => {
    t.deepEqual(faultsIn(file, code), [])
  })
}
