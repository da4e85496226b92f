/**
 * Stamps: each vouches for a tree, by a fingerprint of all that the tree was made from.
 *
 * A stamp is written only AFTER what it vouches for is complete, and is removed BEFORE that is touched. A set-up that is
 * killed at any moment therefore leaves either a good tree or one without a stamp, and the next run makes that one anew.
 */
import { createHash } from 'node:crypto'
import { readText } from './clone.mjs'

export const isStamped = (stamp, fingerprint) => readText(stamp) === fingerprint

/** Of texts and bytes, in their order. */
export function fingerprintOf(parts) {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${part.length}:`).update(part)
  return hash.digest('hex')
}
