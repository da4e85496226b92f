/** Who hears a subject, by example and against the plain rule. */
import test from 'ava'
import { createSubjectTrie, isPattern, isSubject } from '../../transport/subject-trie.ts'
import { seededRandom, seedOfRun } from '../support/seeded-random.ts'

const heardBy = (trie: ReturnType<typeof createSubjectTrie<string>>, subject: string) => {
  const { plain = [], groups = new Map<string, readonly string[]>() } = trie.match(subject) ?? {}
  return { plain: [...plain].sort(), groups: Object.fromEntries(groups) }
}

test('subject trie: a literal subject, a star and a final > match as in NATS', (t) => {
  const trie = createSubjectTrie<string>()
  for (const pattern of ['a.b', 'a.*', 'a.>', '*.b', '*.*', '>', 'a.b.c', '*']) trie.add(pattern, '', pattern)
  t.deepEqual(heardBy(trie, 'a.b').plain, ['*.*', '*.b', '>', 'a.*', 'a.>', 'a.b'])
  t.deepEqual(heardBy(trie, 'a').plain, ['*', '>'])
  t.deepEqual(heardBy(trie, 'a.b.c').plain, ['>', 'a.>', 'a.b.c'])
  t.deepEqual(heardBy(trie, 'x.y.z').plain, ['>'])
})

test('subject trie: a group is one group, whatever patterns its members used', (t) => {
  const trie = createSubjectTrie<number>()
  trie.add('a.b', 'g', 1)
  trie.add('a.*', 'g', 2)
  trie.add('>', 'h', 3)
  const heard = trie.match('a.b')!
  t.deepEqual([...heard.groups].map(([queue, members]) => [queue, [...members].sort()]).sort(), [
    ['g', [1, 2]],
    ['h', [3]],
  ])
})

test('subject trie: what was matched does NOT change when somebody leaves', (t) => {
  const trie = createSubjectTrie<number>()
  trie.add('a', '', 1)
  trie.add('a', 'g', 2)
  const heard = trie.match('a')!
  trie.remove('a', '', 1)
  trie.remove('a', 'g', 2)
  t.deepEqual(heard.plain, [1])
  t.deepEqual(heard.groups.get('g'), [2])
  t.is(trie.match('a'), undefined)
  t.is(trie.size, 0)
})

test('subject trie: a subject with an empty token matches no pattern', (t) => {
  const trie = createSubjectTrie<number>()
  trie.add('>', '', 1)
  trie.add('a.*.b', '', 2)
  for (const subject of ['', 'a..b', '.a', 'a.']) t.is(trie.match(subject), undefined, subject)
})

test('subject trie: subjects and patterns that NATS refuses are refused', (t) => {
  for (const subject of ['a', 'a.b', 'a*b.c>', '$JS.API', '_INBOX.x.1', 'größe'])
    t.true(isSubject(subject), subject)
  for (const subject of ['', '.', '.a', 'a.', 'a..b', '*', 'a.*', '>', 'a.>', 'a b', 'a\n'])
    t.false(isSubject(subject), JSON.stringify(subject))
  for (const pattern of ['a', '*', '>', 'a.*', 'a.>', '*.*.>', 'a*.b>']) t.true(isPattern(pattern), pattern)
  for (const pattern of ['', '.', '.a', 'a.', 'a..b', '>.a', 'a.>.b', 'a b', 'a.\t'])
    t.false(isPattern(pattern), JSON.stringify(pattern))
})

test('subject trie: it agrees with the plain rule through random changes', (t) => {
  const seed = seedOfRun()
  const random = seededRandom(seed)
  const trie = createSubjectTrie<number>()
  const model: { pattern: string; queue: string; id: number }[] = []
  const token = (extra: string) => ['a', 'b', 'c', ...extra][random.below(3 + extra.length)]!
  const path = (extra: string) => Array.from({ length: 1 + random.below(4) }, () => token(extra)).join('.')

  for (let step = 0; step < 3_000; step++) {
    if (model.length > 0 && (model.length > 60 || random.below(3) === 0)) {
      const [gone] = model.splice(random.below(model.length), 1)
      trie.remove(gone!.pattern, gone!.queue, gone!.id)
    } else {
      const one = {
        pattern: random.below(4) === 0 ? `${path('*')}.>` : path('**'),
        queue: ['', '', 'g', 'h'][random.below(4)]!,
        id: step,
      }
      model.push(one)
      trie.add(one.pattern, one.queue, one.id)
    }
    const subject = path('')
    const expected = model.filter(({ pattern }) => matches(pattern.split('.'), subject.split('.')))
    const heard = trie.match(subject)
    const found = [...(heard?.plain ?? []), ...[...(heard?.groups.values() ?? [])].flat()]
    const ids = expected.map(({ id }) => id)
    if (found.sort().join() !== ids.sort().join()) t.fail(`STATEMQ_SEED=${seed}, step ${step}, '${subject}'`)
    for (const [queue, members] of heard?.groups ?? [])
      if (members.some((id) => expected.find((one) => one.id === id)?.queue !== queue))
        t.fail(`STATEMQ_SEED=${seed}`)
  }
  for (const { pattern, queue, id } of model) trie.remove(pattern, queue, id)
  t.is(trie.match('a'), undefined)
})

function matches([token, ...pattern]: string[], [first, ...rest]: string[]): boolean {
  if (token === undefined || first === undefined) return token === undefined && first === undefined
  if (token === '>') return true
  return (token === '*' || token === first) && matches(pattern, rest)
}
