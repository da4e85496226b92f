/** A watch over a home that answers each look with what the test put there: what is told when a register goes back. */
import test from 'ava'
import { succeed } from '../../transport/failures.ts'
import type { Held } from '../../transport/register.ts'
import { registerOver } from '../../transport/register-client.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const POLL_MS = 1_000
const at = (revision: number): Held => ({ revision, value: revision })

function place() {
  const clock = virtualClock()
  const heard: string[] = []
  const home = {
    held: null as Held | null,
    push: (_held: Held) => {},
    /** What each look finds, also those that are under way. */
    look: () => clock.advance(POLL_MS),
  }
  const register = registerOver({
    clock,
    pollMs: POLL_MS,
    read: (_, done) => clock.defer(() => done(succeed(home.held))),
    swap() {},
    listen(_, hint) {
      home.push = hint
      return () => {}
    },
  })
  register.watch(
    'a',
    ({ revision }) => heard.push(`${revision}`),
    (held) => heard.push(`back to ${held?.revision ?? 'nothing'}`),
  )
  return { clock, home, heard, register }
}

test('watch: a register that was put back is told AFTER two looks, and what is newer than that is told again', (t) => {
  const { clock, home, heard } = place()
  home.push(at(8))
  clock.settle()
  home.held = at(3)
  home.look()
  t.deepEqual(heard, ['8'])
  home.look()
  t.deepEqual(heard, ['8', 'back to 3'])
  home.push(at(4))
  home.held = at(5)
  home.look()
  t.deepEqual(heard, ['8', 'back to 3', '4', '5'])
})

test('watch: a register that was emptied is told, and its first value after that', (t) => {
  const { home, heard } = place()
  home.push(at(8))
  home.look()
  home.look()
  t.deepEqual(heard, ['8', 'back to nothing'])
  home.push(at(1))
  t.deepEqual(heard, ['8', 'back to nothing', '1'])
})

test('watch: a register that was emptied, and came to the same revision between two looks, is told', (t) => {
  const { clock, home, heard } = place()
  home.held = at(2)
  clock.settle()
  home.held = null
  home.look()
  home.push({ revision: 1, value: 'anew' })
  home.push({ revision: 2, value: 'anew' })
  home.held = { revision: 2, value: 'anew' }
  home.look()
  t.deepEqual(heard, ['2', 'back to 2'])
  home.look()
  home.look()
  t.deepEqual(heard, ['2', 'back to 2'])
})

test('watch: one look that finds something older is a server that is behind', (t) => {
  const { clock, home, heard } = place()
  home.push(at(8))
  clock.settle()
  for (const revision of [7, 8, 7, 9]) {
    home.held = at(revision)
    home.look()
  }
  t.deepEqual(heard, ['8', '9'])
})

test('watch: a look that a push has overtaken is no step back', (t) => {
  const { clock, home, heard } = place()
  home.held = at(3)
  clock.settle()
  for (const revision of [4, 5, 6]) {
    clock.advance(POLL_MS - 1)
    // The next look is answered with what was there before the push.
    clock.setTimeout(() => home.push(at(revision)), 1)
    clock.advance(1)
    home.held = at(revision)
  }
  t.deepEqual(heard, ['3', '4', '5', '6'])
})
