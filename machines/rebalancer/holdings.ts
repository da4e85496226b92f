/**
 * What a rebalancer does with the queues it holds: one change of all of them for each event, however many it speaks of.
 */
import {
  type Claim,
  generationBehind,
  type Holding,
  ownedOf,
  type QueueNews,
  type RebalancerContext,
  type Refusal,
  rebalancer,
} from './vocabulary.ts'

type Args = Parameters<Parameters<typeof rebalancer.enqueueActions>[0]>[0]
type NewsOf<T> = Extract<QueueNews, { type: T }>

export const announce = {
  type: 'announceAssignment',
  params: ({ context }: { context: RebalancerContext }) => ({
    owned: ownedOf(context),
    generation: context.generation,
  }),
} as const

/** The queues as they will be: changed in place, for it is nobody else's yet. */
class Draft {
  readonly held: RebalancerContext['held']
  readonly #context: RebalancerContext
  readonly #enqueue: Args['enqueue']
  readonly #wanted: ReadonlySet<string>
  readonly #members: ReadonlySet<string>
  #latest: number
  #round: number
  #isOwnedChanged = false
  #isRetryDue = false

  constructor({ context, enqueue }: Pick<Args, 'context' | 'enqueue'>) {
    this.held = { ...context.held }
    this.#context = context
    this.#enqueue = enqueue
    this.#wanted = new Set(context.target)
    this.#members = new Set(context.members)
    this.#latest = context.latest
    this.#round = context.round
  }

  end(): void {
    const { held } = this
    this.#enqueue.assign({ held, latest: this.#latest, round: this.#round })
    if (this.#isOwnedChanged) this.#enqueue(announce)
    // One that is set already is NEVER put off: claims that fail again and again would wait for ever.
    const isSet = Object.values(this.#context.held).some(({ isDue }) => isDue)
    if (!this.#isRetryDue || isSet) return
    this.#enqueue.raise({ type: 'retry.elapsed' }, { id: 'retry', delay: 'claimRetry' })
  }

  #isMember(clientId: string | null): boolean {
    return clientId !== null && this.#members.has(clientId)
  }

  #isGone(owner: string | null): boolean {
    return owner !== null && !this.#members.has(owner)
  }

  /** Asks for a queue, in the generation that we know now. */
  #claim(
    queue: string,
    round: number,
    { force = false, waits = false, owner = null as string | null } = {},
  ): void {
    const { generation } = this.#context
    this.#enqueue({ type: 'claimQueue', params: { queue, generation, force, waits } })
    this.held[queue] = { status: 'claiming', generation, assignEpoch: 0, owner, waits, isDue: false, round }
  }

  #claimFirst(queue: string, how: { force?: boolean; owner?: string | null } = {}): void {
    if (this.#round === this.#context.round) {
      const round = ++this.#round
      this.#enqueue.raise(
        { type: 'handOff.elapsed', round },
        { id: `handOff/${round}`, delay: 'handOffLimit' },
      )
    }
    this.#claim(queue, this.#round, how)
  }

  #drain(queue: string, holding: Holding): void {
    const { generation, assignEpoch } = holding
    this.#enqueue({ type: 'drainQueue', params: { queue, generation, assignEpoch } })
    // What is being finished of the queue, under another grant, goes on.
    if (this.held[queue]?.status === 'draining') return
    if (holding.status === 'owned') this.#isOwnedChanged = true
    this.held[queue] = { ...holding, status: 'draining', isDue: false }
  }

  #askLater(queue: string, holding: Holding): void {
    this.#isRetryDue = true
    this.held[queue] = { ...holding, isDue: true, waits: false }
  }

  #again(queue: string, { owner, round }: Holding): void {
    this.#claim(queue, round, { force: this.#isGone(owner), owner })
  }

  /**
   * Claims what is wanted and not held, takes what a member held that is gone, gives back what is held and not wanted,
   * and touches nothing else.
   */
  reconcile(): void {
    for (const [queue, holding] of Object.entries(this.held)) {
      const { status, owner, round } = holding
      const isClaim = status === 'claiming' || status === 'refused'
      if (this.#wanted.has(queue)) {
        if (isClaim && this.#isGone(owner)) this.#claim(queue, round, { force: true, owner })
      } else if (status === 'refused') delete this.held[queue]
      else if (status !== 'draining') this.#drain(queue, holding)
    }
    for (const queue of this.#wanted) if (!this.held[queue]) this.#claimFirst(queue)
  }

  hear(news: QueueNews): void {
    switch (news.type) {
      case 'queue.claimed':
        return this.#claimed(news)
      case 'claim.refused':
        return this.#refused(news)
      case 'claim.failed':
        return this.#failed(news)
      case 'queue.drained':
        return this.#drained(news)
      case 'queue.fenced':
        return this.#fenced(news)
    }
  }

  /** The claim that was answered, when it is the last one that was made. */
  #awaited({ queue, generation }: Claim): Holding | null {
    const holding = this.held[queue]
    if (holding?.status !== 'claiming' && holding?.status !== 'refused') return null
    return holding.generation === generation ? holding : null
  }

  #claimed({ queue, generation, assignEpoch }: NewsOf<'queue.claimed'>): void {
    const awaited = this.#awaited({ queue, generation })
    if (awaited) {
      this.held[queue] = { ...awaited, status: 'owned', assignEpoch, owner: null, waits: false, isDue: false }
      this.#isOwnedChanged = true
    } else this.#giveBackUnwanted({ queue, generation })
  }

  #failed({ queue, generation }: NewsOf<'claim.failed'>): void {
    const awaited = this.#awaited({ queue, generation })
    if (awaited) this.#askLater(queue, awaited)
    else this.#giveBackUnwanted({ queue, generation })
  }

  /** Perhaps granted, and not wanted any more. */
  #giveBackUnwanted({ queue, generation }: Claim): void {
    if (this.#wanted.has(queue)) return
    const claimed = { status: 'claiming', generation, assignEpoch: 0, owner: null } as const
    this.#drain(queue, { ...claimed, waits: false, isDue: false, round: 0 })
  }

  /** Whoever holds it is a member: the next claim waits until it lets go. Or it is not, and nobody can let go. */
  #refused(refusal: Refusal): void {
    const { queue, owner } = refusal
    const behind = generationBehind(this.#context, refusal)
    this.#latest = Math.max(this.#latest, behind)
    const awaited = this.#awaited(refusal)
    if (!awaited) return
    const isOvertaken = behind > this.#context.generation
    if (!isOvertaken && this.#isGone(owner)) this.#claim(queue, awaited.round, { force: true, owner })
    else if (!isOvertaken && !awaited.waits && this.#isMember(owner))
      this.#claim(queue, awaited.round, { waits: true, owner })
    else this.#askLater(queue, { ...awaited, status: 'refused', owner })
  }

  /** Of the drain that was ordered last: one of an earlier grant says nothing of this one. */
  #drained({ queue, generation, assignEpoch }: NewsOf<'queue.drained'>): void {
    const holding = this.held[queue]
    if (holding?.status !== 'draining') return
    if (holding.generation !== generation || holding.assignEpoch !== assignEpoch) return
    delete this.held[queue]
    if (this.#wanted.has(queue)) this.#claimFirst(queue)
  }

  #fenced({ queue, assignEpoch }: NewsOf<'queue.fenced'>): void {
    const holding = this.held[queue]
    if (holding?.status !== 'owned' && holding?.status !== 'draining') return
    if (holding.assignEpoch !== assignEpoch) return
    this.#enqueue({ type: 'dropQueue', params: { queue, generation: holding.generation } })
    this.#isOwnedChanged = true
    delete this.held[queue]
    if (this.#wanted.has(queue)) this.#claimFirst(queue)
  }

  retry(): void {
    for (const [queue, holding] of Object.entries(this.held)) if (holding.isDue) this.#again(queue, holding)
  }

  /** Those that were asked for in this round have waited long enough. */
  runOut(round: number): void {
    const late = Object.entries(this.held).filter(
      ([, { status, round: own }]) => own === round && (status === 'claiming' || status === 'refused'),
    )
    for (const [queue, { owner }] of late) this.#claimFirst(queue, { force: true, owner })
  }
}

const changing = (change: (draft: Draft, args: Args) => void) =>
  rebalancer.enqueueActions((args) => {
    const draft = new Draft(args)
    change(draft, args)
    draft.end()
  })

export const reconcile = changing((draft) => draft.reconcile())

export const newsOf = (event: Args['event']): readonly QueueNews[] =>
  event.type === 'queues.heard' ? event.news : [event as QueueNews]
export const heed = changing((draft, { event }) => {
  for (const news of newsOf(event)) draft.hear(news)
})
export const retry = changing((draft) => draft.retry())
export const takeByForce = changing((draft, { event }) => {
  if (event.type === 'handOff.elapsed') draft.runOut(event.round)
})
