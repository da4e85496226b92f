/** The programs of the repository, as a person starts them. None of these calls starts anything else. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const programs: { file: string; wrong: string; says: RegExp }[] = [
  { file: 'bench/main', wrong: '--size none', says: /^--size none: give a whole number from 1 on/ },
  { file: 'bench/pop', wrong: '--max 5000', says: /^--max 5000: give at most 1000/ },
  { file: 'chaos/main', wrong: '--kills 3 --cuts 3', says: /^--kills and --cuts: give one of them/ },
  { file: 'rebalance/main', wrong: '--allocation by-config', says: /^--allocation by-config: give one of / },
  { file: 'sim/main', wrong: '--minutes soon', says: /^--minutes soon: give a number from 0 on/ },
  {
    file: 'models/main',
    wrong: '--group --replicas 3',
    says: /^--replicas: a consumer group has no such thing/,
  },
]

function run(file: string, ...args: string[]) {
  const path = fileURLToPath(new URL(`../${file}.js`, import.meta.url))
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...args], { encoding: 'utf8' })
  return { status, stdout, stderr }
}
const sentence = (text: string, words: RegExp) => words.test(text) && /^[^\n]+\n$/.test(text)

for (const { file, wrong, says } of programs) {
  test(`program: ${file} --help prints its usage, with an example`, (t) => {
    const { status, stdout, stderr } = run(file, '--help')
    t.is(status, 0)
    t.regex(stdout, /^usage: (npm run|node)/)
    t.regex(stdout, /\nexamples?: (npm run|node)/)
    t.is(stderr, '')
  })

  test(`program: ${file} refuses an option that it does not know in one sentence`, (t) => {
    const { status, stdout, stderr } = run(file, '--sead', '7')
    t.is(status, 2)
    t.is(stdout, '')
    t.true(sentence(stderr, /^there is no option --sead.*--help shows all options/), stderr)
  })

  test(`program: ${file} refuses a wrong value in one sentence`, (t) => {
    const { status, stdout, stderr } = run(file, ...wrong.split(' '))
    t.is(status, 2)
    t.is(stdout, '')
    t.true(sentence(stderr, says), stderr)
  })
}

test('program: the nearest name is told', (t) => {
  t.regex(run('chaos/main', '--minute', '2').stderr, /did you mean --minutes\?/)
})

test('program: a value that is missing is asked for', (t) => {
  t.regex(run('sim/main', '--seed').stderr, /^--seed needs a value after it/)
  t.regex(run('sim/main', '--seed', '--about', 'x').stderr, /^--seed needs a value after it/)
})

test('program: what is no option is refused', (t) => {
  t.regex(run('models/main', 'replicas=3').stderr, /^'replicas=3' is no option: they begin with --/)
})
