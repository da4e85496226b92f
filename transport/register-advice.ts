/**
 * Which nats-server a register may stand on, and what to know of it.
 *
 * 'stream' is the form that register-jetstream.ts uses: the expected sequence of a WHOLE STREAM is compared when the
 * write is applied, in every version. 'subject', which NATS's key-value buckets use, is compared only BEFORE the write
 * is proposed on clustered servers below 2.9.21: two writers win with one expectation (nats-io/nats-server#4319).
 *
 * What is left is how NATS keeps its own word: below 2.9.21 clustered servers tell of a vote BEFORE it is on disk, and
 * below 2.12.4 one may vote twice in a term after a restart. Both can bring back an older value after a crash.
 */
export type RegisterGround = {
  readonly version: string
  readonly isClustered: boolean
  /** How many servers keep a copy. */
  readonly replicas: number
  readonly form: 'stream' | 'subject'
}

export type RegisterAdvice = 'fine' | { readonly warn: string } | { readonly refuse: string }

export function registerAdvice({ version, isClustered, replicas, form }: RegisterGround): RegisterAdvice {
  const known = numbersOf(version)
  const server = `nats-server ${version}`
  if (!isClustered && replicas > 1)
    return { refuse: `${server} stands alone and cannot keep ${replicas} copies: ask for one, or cluster it` }
  if (known === null)
    return {
      warn: `${server} has a version that is not known here: the register was proven on 2.9.10 and newer`,
    }
  if (isClustered && isBelow(known, [2, 9, 21])) {
    if (form === 'subject')
      return {
        refuse: `a cluster of ${server} lets two swaps of one revision succeed: upgrade to 2.12.4 or newer`,
      }
    return {
      warn: `a cluster of ${server} may forget a vote when a server is killed: upgrade to 2.12.4 or newer`,
    }
  }
  if (replicas > 1 && isBelow(known, [2, 12, 4]))
    return { warn: `a cluster of ${server} may vote twice after a restart: upgrade to 2.12.4 or newer` }
  return 'fine'
}

type Version = readonly [number, number, number]

/** A version with a suffix, as 2.12.4-RC.1, comes before the one without. */
function numbersOf(version: string): readonly [...Version, isFinal: boolean] | null {
  const found = /^v?(\d+)\.(\d+)\.(\d+)(-.+)?/.exec(version)
  if (found === null) return null
  return [Number(found[1]), Number(found[2]), Number(found[3]), found[4] === undefined]
}

function isBelow(
  [major, minor, patch, isFinal]: readonly [...Version, isFinal: boolean],
  [otherMajor, otherMinor, otherPatch]: Version,
): boolean {
  if (major !== otherMajor) return major < otherMajor
  if (minor !== otherMinor) return minor < otherMinor
  return patch === otherPatch ? !isFinal : patch < otherPatch
}
