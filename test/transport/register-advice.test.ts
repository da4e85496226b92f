/** Which servers may keep a register. */
import test from 'ava'
import { type RegisterGround, registerAdvice } from '../../transport/register-advice.ts'

const advice = (version: string, isClustered: boolean, replicas: number, form: RegisterGround['form']) => {
  const given = registerAdvice({ version, isClustered, replicas, form })
  return given === 'fine' ? given : Object.keys(given)[0]
}

const table: [version: string, isClustered: boolean, replicas: number, stream: string, subject: string][] = [
  ['2.9.10', false, 1, 'fine', 'fine'],
  ['2.12.4', false, 1, 'fine', 'fine'],
  ['2.9.10', true, 1, 'warn', 'refuse'],
  ['2.9.10', true, 3, 'warn', 'refuse'],
  ['2.9.20', true, 3, 'warn', 'refuse'],
  ['2.9.21-RC.1', true, 1, 'warn', 'refuse'],
  ['2.9.21', true, 1, 'fine', 'fine'],
  ['2.9.21', true, 3, 'warn', 'warn'],
  ['2.10.22', true, 3, 'warn', 'warn'],
  ['2.10.22', true, 1, 'fine', 'fine'],
  ['2.12.3', true, 3, 'warn', 'warn'],
  ['2.12.4-RC.2', true, 3, 'warn', 'warn'],
  ['2.12.4', true, 3, 'fine', 'fine'],
  ['2.12.10', true, 5, 'fine', 'fine'],
  ['2.100.0', true, 3, 'fine', 'fine'],
  ['3.0.0', true, 3, 'fine', 'fine'],
  ['v2.12.4', true, 3, 'fine', 'fine'],
  ['1.4.1', true, 1, 'warn', 'refuse'],
  ['2.12.4', false, 3, 'refuse', 'refuse'],
  ['nightly', true, 3, 'warn', 'warn'],
]

for (const [version, isClustered, replicas, stream, subject] of table) {
  const where = `${isClustered ? 'a cluster of' : 'one'} ${version} with ${replicas} copies`
  test(`register advice: for ${where} says ${stream}, and ${subject} of the subject's form`, (t) => {
    t.is(advice(version, isClustered, replicas, 'stream'), stream)
    t.is(advice(version, isClustered, replicas, 'subject'), subject)
  })
}

test('register advice: tells what to do', (t) => {
  const old = registerAdvice({ version: '2.9.10', isClustered: true, replicas: 3, form: 'subject' })
  t.regex((old as { refuse: string }).refuse, /2\.9\.10.*upgrade to 2\.12\.4/)
  const alone = registerAdvice({ version: '2.12.4', isClustered: false, replicas: 3, form: 'stream' })
  t.regex((alone as { refuse: string }).refuse, /stands alone.*ask for one, or cluster it/)
})
