/**
 * Who hears a subject.
 *
 * Most subjects are literal and most publishes are to one of them, so those live in a Map; only patterns with `*` or
 * `>` are walked token by token. There is no cache of matches: the reply subjects of requests are all different and
 * would flush it, and a literal match is one look-up already.
 *
 * Invariant: what `match` returns NEVER changes afterwards. Who is handed a message may subscribe or unsubscribe in
 * the middle of the round.
 */

/** Everybody who hears one subject: each of `plain`, and one of every group. */
export type Heard<S> = {
  readonly plain: readonly S[]
  readonly groups: ReadonlyMap<string, readonly S[]>
}

export interface SubjectTrie<S> {
  /** How many subscriptions it holds. */
  readonly size: number
  /** `queue` is '' for who hears everything. The pattern must satisfy `isPattern`. */
  add(pattern: string, queue: string, listener: S): void
  remove(pattern: string, queue: string, listener: S): void
  match(subject: string): Heard<S> | undefined
}

type Node<S> = { children: Map<string, Node<S>>; heard: Heard<S> | undefined }

const newNode = <S>(): Node<S> => ({ children: new Map(), heard: undefined })
const hasWildcard = (pattern: string) => /(?:^|\.)[*>](?:\.|$)/.test(pattern)
const hasEmptyToken = (subject: string) =>
  subject === '' || subject.startsWith('.') || subject.endsWith('.') || subject.includes('..')

/** A subject to publish on: tokens without blanks, none of them a wildcard. */
export const isSubject = (subject: string): boolean =>
  /^(?![*>](?:\.|$))[^\s\0.]+(?:\.(?![*>](?:\.|$))[^\s\0.]+)*$/.test(subject)

/** A subject to subscribe to: `*` stands for one token, a final `>` for one or more. */
export const isPattern = (pattern: string): boolean => /^(?:(?!>\.)[^\s\0.]+(?:\.(?!$)|$))+$/.test(pattern)

export function createSubjectTrie<S>(): SubjectTrie<S> {
  const literal = new Map<string, Heard<S>>()
  const root = newNode<S>()
  let patterns = 0
  let size = 0

  function add(pattern: string, queue: string, listener: S): void {
    size++
    if (!hasWildcard(pattern)) {
      literal.set(pattern, withListener(literal.get(pattern), queue, listener))
      return
    }
    patterns++
    let node = root
    for (const token of pattern.split('.')) {
      const child = node.children.get(token) ?? newNode()
      node.children.set(token, child)
      node = child
    }
    node.heard = withListener(node.heard, queue, listener)
  }

  function remove(pattern: string, queue: string, listener: S): void {
    size--
    if (hasWildcard(pattern)) {
      patterns--
      prune(root, pattern.split('.'), 0, queue, listener)
      return
    }
    const left = withoutListener(literal.get(pattern), queue, listener)
    if (left === undefined) literal.delete(pattern)
    else literal.set(pattern, left)
  }

  function match(subject: string): Heard<S> | undefined {
    const exact = literal.get(subject)
    if (patterns === 0 || hasEmptyToken(subject)) return exact
    const found: Heard<S>[] = []
    walk(root, subject, 0, found)
    if (exact !== undefined) found.push(exact)
    return found.length < 2 ? found[0] : merge(found)
  }

  return {
    get size() {
      return size
    },
    add,
    remove,
    match,
  }
}

function walk<S>(node: Node<S>, subject: string, from: number, found: Heard<S>[]): void {
  const rest = node.children.get('>')?.heard
  if (rest !== undefined) found.push(rest)
  const dot = subject.indexOf('.', from)
  const token = subject.slice(from, dot < 0 ? undefined : dot)
  const step = (child: Node<S> | undefined) => {
    if (child === undefined) return
    if (dot >= 0) walk(child, subject, dot + 1, found)
    else if (child.heard !== undefined) found.push(child.heard)
  }
  step(node.children.get('*'))
  if (token !== '*' && token !== '>') step(node.children.get(token))
}

/** Removes the listener and every node that is empty after it; says whether this one is. */
function prune<S>(node: Node<S>, tokens: string[], depth: number, queue: string, listener: S): boolean {
  if (depth === tokens.length) node.heard = withoutListener(node.heard, queue, listener)
  else {
    const token = tokens[depth]!
    const child = node.children.get(token)
    if (child !== undefined && prune(child, tokens, depth + 1, queue, listener)) node.children.delete(token)
  }
  return node.heard === undefined && node.children.size === 0
}

const nobody: Heard<never> = { plain: [], groups: new Map() }

function withListener<S>(heard: Heard<S> = nobody, queue: string, listener: S): Heard<S> {
  if (queue === '') return { plain: [...heard.plain, listener], groups: heard.groups }
  const members = heard.groups.get(queue) ?? []
  return { plain: heard.plain, groups: new Map(heard.groups).set(queue, [...members, listener]) }
}

function withoutListener<S>(heard: Heard<S> = nobody, queue: string, listener: S): Heard<S> | undefined {
  const others = (all: readonly S[] = []) => all.filter((one) => one !== listener)
  if (queue === '') {
    const plain = others(heard.plain)
    return plain.length + heard.groups.size === 0 ? undefined : { plain, groups: heard.groups }
  }
  const groups = new Map(heard.groups)
  const members = others(groups.get(queue))
  if (members.length === 0) groups.delete(queue)
  else groups.set(queue, members)
  return heard.plain.length + groups.size === 0 ? undefined : { plain: heard.plain, groups }
}

/** A group is one group whatever patterns its members used: still exactly one of them hears the message. */
function merge<S>(found: readonly Heard<S>[]): Heard<S> {
  const groups = new Map<string, readonly S[]>()
  for (const heard of found)
    for (const [queue, members] of heard.groups) groups.set(queue, [...(groups.get(queue) ?? []), ...members])
  return { plain: found.flatMap((heard) => heard.plain), groups }
}
