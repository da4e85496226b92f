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

test('addresses: one of several that is none is refused, and no login of any is shown', (t) => {
  const outcome = parseAddresses(addressesIn('nats://me:secret@a:1,nats://me:secret@b:port'))
  t.regex(outcome.ok ? '' : outcome.failure.message, /^'nats:\/\/b:port' is no address/)
  t.notRegex(JSON.stringify(outcome), /secret/)
})
