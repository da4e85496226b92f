import { createHash } from 'node:crypto'
import test from 'ava'
import fc from 'fast-check'
import { md5Head, md5Hex } from '../../machines/allocation/md5.ts'

// RFC 1321, A.5
const vectors: [text: string, digest: string][] = [
  ['', 'd41d8cd98f00b204e9800998ecf8427e'],
  ['a', '0cc175b9c0f1b6a831c399e269772661'],
  ['abc', '900150983cd24fb0d6963f7d28e17f72'],
  ['message digest', 'f96b697d7cb7938d525a2f31aaf161d0'],
  ['abcdefghijklmnopqrstuvwxyz', 'c3fcd3d76192e4007dfb496cca67e13b'],
  ['ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789', 'd174ab98d277d9f5a5611c2c9f419d9f'],
  [
    '12345678901234567890123456789012345678901234567890123456789012345678901234567890',
    '57edf4a22be3c955ac49da2e2107b67a',
  ],
]
for (const [text, digest] of vectors) {
  test(`md5: of '${text}' is what RFC 1321 says`, (t) => {
    t.is(md5Hex(text), digest)
  })
}

test('md5: is that of node:crypto, whatever the text', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 300 }), (text) => {
      t.is(md5Hex(text), createHash('md5').update(text).digest('hex'))
    }),
  )
})

test('md5: is that of node:crypto at every length around the borders of a block', (t) => {
  for (let length = 0; length < 200; length += 1) {
    const text = 'x'.repeat(length)
    t.is(md5Hex(text), createHash('md5').update(text).digest('hex'))
  }
})

test('md5: half of a surrogate pair counts as a question mark, as in Java', (t) => {
  t.is(md5Hex('a\ud83d'), md5Hex('a?'))
  t.is(md5Hex('\ude00b'), md5Hex('?b'))
})

test('md5: its head is the first four bytes, the first one highest', (t) => {
  for (const [text, digest] of vectors) t.is(md5Head(text), Number.parseInt(digest.slice(0, 8), 16))
})
