/** Addresses as people write them. */
import test from 'ava'
import { addressesIn, parseAddresses, withoutLogin } from '../../transport/nats-addresses.ts'

test('addresses: several stand in one text, or in a list', (t) => {
  for (const servers of ['a:1,b', 'a:1, b', ['a:1', 'b']] as const)
    t.deepEqual(parseAddresses(addressesIn(servers)), {
      ok: true,
      value: { servers: ['a:1', 'b:4222'], more: {} },
    })
  t.deepEqual(addressesIn('nats://u:p@a,nats://u:p@b:2'), ['nats://u:p@a', 'nats://u:p@b:2'])
})

test('addresses: a comma in a password separates nothing, and no part of it is shown', (t) => {
  const address = 'nats://me:se,cret@host:1'
  t.deepEqual(addressesIn(address), [address])
  t.is(withoutLogin(address), 'nats://host:1')
  t.is(withoutLogin(`${address},nats://other`), 'nats://host:1,nats://other')
})

test('addresses: what is none is refused without its login', (t) => {
  for (const address of ['', 'http://me:secret@host', 'nats://me:secret@', 'nats://me:secret@host:99999']) {
    const outcome = parseAddresses(addressesIn(address))
    t.false(outcome.ok)
    t.false(!outcome.ok && /secret/.test(JSON.stringify(outcome)))
  }
})
