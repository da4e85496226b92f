/**
 * What happened to the messages of a cluster, and everything that must not be found in it.
 *
 * A history is what senders, consumers and the wire saw, in the order in which it happened, and at its end the logs as
 * they are read from first to last. The checks are those of Jepsen's kafka and queue tests, for our promises:
 *
 * - what was acknowledged is in the log, under the offset that was told, unless all of its copies were destroyed
 *   before one was on a disk (history-groups.ts says when that excuses);
 * - a message is stored once, unless it was moved to another broker while its fate was unknown, and then under one id,
 *   by which consumers know it;
 * - an offset has one message, and messages of one group keep their order within a queue;
 * - a group gets every message, reads on without a gap, and a second time only after something went wrong;
 * - a queue has one owner; an offset is committed after all below it is handled, and what is committed stays so.
 *
 * Queues are named `topic/broker/id`.
 */
import { BrokerGroups, type GroupEvent } from './history-groups.ts'

/** `frame`: its place among all that its producer shipped; a repetition has the same. */
export type LoggedMessage = {
  offset: number
  epoch: number
  message: string
  messageId: string
  frame: string
}
export type SettledQueue = {
  queue: string
  owner: string | null
  committed: number | null
  minOffset: number
  maxOffset: number
}

type Read = { group: string; consumer: string; queue: string }

export type HistoryEvent =
  | {
      type: 'send.invoked'
      message: string
      sender: string
      sequence: number
      messageGroup: string | null
      bytes?: number
    }
  /** `answeredAt`: when the broker said so, where that is known. */
  | {
      type: 'send.stored'
      message: string
      queue: string
      offset: number
      epoch: number
      messageId: string
      answeredAt?: number
    }
  /** It is stored, and will stand in the queue of its topic when it is due. */
  | { type: 'send.delayed'; message: string; broker: string; messageId: string }
  /** Nobody knows whether it was stored. */
  | { type: 'send.failed'; message: string; code: string }
  | ({ type: 'message.delivered'; attempt: number; isOrdered: boolean } & Read & Omit<LoggedMessage, 'frame'>)
  | ({ type: 'message.handled'; offset: number } & Read)
  | ({ type: 'handler.failed'; offset: number } & Read)
  /** A broker says that a copy of it is stored, to be tried again: whoever it is of, it counts as finished. */
  | ({ type: 'message.sentBack'; offset: number } & Read)
  | { type: 'consumer.gone'; group: string; consumer: string }
  /** Answers of a broker; `run` names its start. */
  | ({
      type: 'queue.granted'
      assignEpoch: number
      run: string
      committed: number | null
      maxOffset: number
    } & Read)
  | ({ type: 'queue.released'; assignEpoch: number; run: string } & Read)
  | ({ type: 'queue.served'; assignEpoch: number; run: string } & Read)
  | ({ type: 'offset.sent'; offset: number } & Read)
  | ({ type: 'offset.stored'; offset: number } & Read)
  /** Something is wrong, from then on until then. */
  | { type: 'fault.began'; fault: string }
  | { type: 'fault.ended'; fault: string }
  | GroupEvent
  /** Its oldest messages may leave before their time. */
  | { type: 'disk.filled'; broker: string }
  | { type: 'log.read'; queue: string; minOffset: number; maxOffset: number; messages: LoggedMessage[] }
  /** All is well again, and was for long. `owned`: the queues that each consumer says it has. */
  | { type: 'group.settled'; group: string; queues: SettledQueue[]; owned: Record<string, string[]> }

export type Happened = HistoryEvent & { at: number }
export type Anomaly = { name: AnomalyName; at: number; what: string }
export type AnomalyName =
  | 'lost'
  | 'never sent'
  | 'two messages at one offset'
  | 'duplicate'
  | 'reordered'
  | 'gap in the log'
  | 'skipped'
  | 'never handled'
  | 'delivered again'
  | 'two readers'
  | 'two owners'
  | 'not in order'
  | 'committed beyond what is handled'
  | 'committed beyond the end'
  | 'committed offset lost'
  | 'no owner'
  | 'not drained'
  | 'two masters'
  | 'epoch went back'
  | 'lost too much'

/** What a fault may still cause after it is over: requests that hang, sessions, hand-overs. */
const LINGER_MS = 60_000

type Sent = Extract<Happened, { type: 'send.invoked' }>
type Stored = Extract<Happened, { type: 'send.stored' }>
type Delivered = Extract<Happened, { type: 'message.delivered' }>
type Of<T extends HistoryEvent['type']> = Extract<Happened, { type: T }>

type GroupQueue = {
  handled: Set<number>
  /** Everything below it is handled. */
  frontier: number
  /** By consumer: the last message that was new to it. */
  last: Map<string, number>
  /** The last delivery of each offset. */
  deliveries: Map<number, Delivered & { isHandled: boolean }>
  running: Map<string, Set<number>>
  lastFailure: number
  /** By epoch: the end of what was delivered of it. */
  ahead: Map<number, number>
  /** The last offset whose commit was confirmed. */
  committed: number
  /** By run of the broker: to whom it was granted last. */
  owners: Map<string, { consumer: string; assignEpoch: number } | null>
  /** To whom it was granted by whatever run, as `consumer assignEpoch`: a later master has that in its log. */
  grants: Set<string>
}

/** `isRead`: somebody else than its sender saw it there. */
type Place = { message: string; epoch: number; isRead: boolean }

/** A broker sends under a producer id that is above those of all producers. */
const isOfBroker = (frame: string): boolean => Number(frame.split('-')[0]) > Number.MAX_SAFE_INTEGER
const brokerOf = (queue: string): string => queue.split('/')[1]!

export function check(history: readonly Happened[]): Anomaly[] {
  const checker = new Checker()
  for (const event of history) checker.take(event)
  return checker.finish()
}

class Checker {
  readonly #anomalies: Anomaly[] = []
  readonly #sent = new Map<string, Sent>()
  readonly #stored: Stored[] = []
  /** Queue and offset to what is known to stand there. */
  readonly #places = new Map<string, Place>()
  readonly #queues = new Map<string, GroupQueue>()
  readonly #delayed: Of<'send.delayed'>[] = []
  readonly #received = new Set<string>()
  /** By group and message: the places from which it was sent back. */
  readonly #origins = new Map<string, string[]>()
  readonly #groups = new Set<string>()
  readonly #logs = new Map<string, Of<'log.read'>>()
  readonly #faults = new Map<string, number>()
  #lastFaultEnd = Number.NEGATIVE_INFINITY
  readonly #brokers = new BrokerGroups((name, what) => this.#found(name, what))
  readonly #filled = new Set<string>()
  #now = 0

  take(event: Happened): void {
    this.#now = event.at
    switch (event.type) {
      case 'send.invoked':
        return void this.#sent.set(event.message, event)
      case 'send.stored':
        this.#stored.push(event)
        return this.#stands(event.queue, event, false)
      case 'send.delayed':
        return void this.#delayed.push(event)
      case 'send.failed':
        return
      case 'message.delivered':
        return this.#takeDelivery(event)
      case 'message.handled':
        return this.#handled(event)
      case 'handler.failed':
        return this.#failed(event)
      case 'message.sentBack':
        return this.#sentBack(event)
      case 'consumer.gone':
        for (const queue of this.#queues.values()) {
          queue.running.delete(event.consumer)
          queue.last.delete(event.consumer)
        }
        return
      case 'queue.granted':
        return this.#granted(event)
      case 'queue.released': {
        const { owners } = this.#queueOf(event)
        const owner = owners.get(event.run)
        if (owner?.consumer === event.consumer && owner.assignEpoch === event.assignEpoch)
          owners.set(event.run, null)
        return
      }
      case 'queue.served': {
        const { owners, grants } = this.#queueOf(event)
        const { consumer, assignEpoch, run } = event
        // Of what earlier masters granted, AT MOST ONE grant stands.
        if (!owners.has(run) && grants.has(`${consumer} ${assignEpoch}`))
          owners.set(run, { consumer, assignEpoch })
        const owner = owners.get(run)
        if (owner?.consumer === consumer && owner.assignEpoch === assignEpoch) return
        const whose = owner ? `${owner.consumer}'s under ${owner.assignEpoch}` : 'nobody’s'
        return this.#found(
          'two owners',
          `${consumer} reads ${event.queue} under ${assignEpoch}, which is ${whose}`,
        )
      }
      case 'offset.sent': {
        const { frontier } = this.#queueOf(event)
        if (event.offset > frontier && !this.#isTorn(event.queue)) {
          this.#found(
            'committed beyond what is handled',
            `${event.consumer} commits ${event.offset} of ${event.queue}, where ${frontier} is not handled`,
          )
        }
        return
      }
      case 'offset.stored': {
        const queue = this.#queueOf(event)
        queue.committed = Math.max(queue.committed, event.offset)
        return
      }
      case 'fault.began':
        return void this.#faults.set(event.fault, event.at)
      case 'fault.ended':
        this.#faults.delete(event.fault)
        this.#lastFaultEnd = event.at
        return
      case 'group.formed':
      case 'head.changed':
      case 'epoch.served':
      case 'tail.lost':
      case 'log.cut':
        return this.#brokers.take(event)
      case 'disk.filled':
        return void this.#filled.add(event.broker)
      case 'log.read':
        return void this.#logs.set(event.queue, event)
      case 'group.settled':
        return this.#settled(event)
    }
  }

  finish(): Anomaly[] {
    for (const log of this.#logs.values()) this.#checkLog(log)
    this.#checkDuplicates()
    for (const stored of this.#stored) this.#checkStored(stored)
    this.#checkDelayed()
    for (const group of this.#groups) {
      for (const log of this.#logs.values()) this.#checkCoverage(group, log)
    }
    this.#brokers.finish()
    return this.#anomalies
  }

  #found(name: AnomalyName, what: string): void {
    this.#anomalies.push({ name, at: this.#now, what })
  }

  /** Whether something was wrong at some time since then, or shortly before. */
  #isExcused(since: number): boolean {
    return this.#faults.size > 0 || this.#lastFaultEnd + LINGER_MS > since
  }

  /** The offsets of its queues were used twice, and rightly so. */
  #isTorn(queue: string): boolean {
    return this.#brokers.isTorn(brokerOf(queue))
  }

  #queueOf({ group, queue }: { group: string; queue: string }): GroupQueue {
    this.#groups.add(group)
    const key = `${group} ${queue}`
    let known = this.#queues.get(key)
    if (known === undefined) {
      known = {
        handled: new Set(),
        frontier: 0,
        last: new Map(),
        deliveries: new Map(),
        running: new Map(),
        lastFailure: Number.NEGATIVE_INFINITY,
        ahead: new Map(),
        committed: -1,
        owners: new Map(),
        grants: new Set(),
      }
      this.#queues.set(key, known)
    }
    return known
  }

  #stands(
    queue: string,
    { offset, message, epoch }: Pick<LoggedMessage, 'offset' | 'message' | 'epoch'>,
    isRead: boolean,
  ): void {
    const place = `${queue}@${offset}`
    const known = this.#places.get(place)
    if (known === undefined || isRead || !known.isRead) this.#places.set(place, { message, epoch, isRead })
    if (known === undefined || known.message === message) return
    if (known.epoch !== epoch && this.#isTorn(queue)) return
    const isTold = known.isRead && isRead
    if (known.epoch !== epoch && !isTold && this.#brokers.isAsynchronous(brokerOf(queue))) return
    this.#found('two messages at one offset', `${place} is ${known.message}, and it is ${message}`)
  }

  // ---------------------------------------------------------------------------------------------- consumers

  #takeDelivery(event: Delivered): void {
    const { consumer, queue: name, offset, message, attempt } = event
    const queue = this.#queueOf(event)
    this.#stands(name, event, true)
    if (!this.#sent.has(message)) this.#found('never sent', `${consumer} is given ${message}`)
    if (attempt === 1) {
      this.#checkContinuity(event, queue)
      this.#checkAgain(event, queue)
    }
    this.#checkReaders(event, queue)
    queue.ahead.set(event.epoch, Math.max(queue.ahead.get(event.epoch) ?? 0, offset + 1))
    queue.deliveries.set(offset, { ...event, isHandled: false })
    const running = queue.running.get(consumer)
    if (running) running.add(offset)
    else queue.running.set(consumer, new Set([offset]))
  }

  #checkContinuity({ consumer, queue: name, offset }: Delivered, queue: GroupQueue): void {
    const last = queue.last.get(consumer)
    queue.last.set(consumer, offset)
    if (last !== undefined && offset === last + 1) return
    if (offset <= queue.frontier || this.#isTorn(name)) return
    if (this.#filled.has(brokerOf(name))) {
      queue.frontier = offset // What is missing has left the log; were it there, the coverage would tell.
      return
    }
    const before = last === undefined ? 'begins' : `read ${last} and goes on`
    this.#found(
      'skipped',
      `${consumer} ${before} at ${offset} of ${name}, where ${queue.frontier} is not handled`,
    )
  }

  #checkAgain({ group, consumer, queue: name, offset, message }: Delivered, queue: GroupQueue): void {
    const before = queue.deliveries.get(offset)
    if (before === undefined || before.message !== message || this.#isExcused(before.at)) return
    if (!before.isHandled && !queue.running.get(before.consumer)?.has(offset)) return // Its handler failed.
    if (queue.lastFailure > before.at - LINGER_MS) return // It held the committed offset back.
    const first = before.isHandled ? 'was handled' : 'is being handled'
    this.#found(
      'delivered again',
      `${name}@${offset} ${first} by ${before.consumer} of ${group} and is given to ${consumer}`,
    )
  }

  #checkReaders({ consumer, queue: name, offset, isOrdered }: Delivered, queue: GroupQueue): void {
    for (const [other, offsets] of queue.running) {
      if (offsets.size === 0) continue
      const [oldest] = offsets
      if (other === consumer) {
        if (!isOrdered || this.#isExcused(queue.deliveries.get(oldest!)!.at)) continue
        this.#found('not in order', `${consumer} is given ${name}@${offset} while it handles ${oldest}`)
      } else if (!this.#isExcused(queue.deliveries.get(oldest!)!.at)) {
        this.#found('two readers', `${consumer} is given ${name}@${offset} while ${other} handles ${oldest}`)
      }
    }
  }

  #handled(event: Of<'message.handled'>): void {
    const queue = this.#queueOf(event)
    this.#ended(event, queue)
    const delivery = queue.deliveries.get(event.offset)
    if (delivery?.consumer === event.consumer) delivery.isHandled = true
    if (delivery) {
      const { message } = delivery
      const places = this.#origins.get(`${event.group} ${message}`) ?? []
      for (const place of [`${event.queue}@${event.offset}`, ...places])
        this.#received.add(`${event.group} ${place} ${message}`)
    }
    this.#finish(event, queue)
  }

  #finish({ offset }: { offset: number }, queue: GroupQueue): void {
    queue.handled.add(offset)
    while (queue.handled.delete(queue.frontier)) queue.frontier++
  }

  #sentBack(event: Of<'message.sentBack'>): void {
    const { group, queue: name, offset } = event
    const queue = this.#queueOf(event)
    const delivery = queue.deliveries.get(offset)
    if (delivery === undefined)
      this.#found('never sent', `${name}@${offset} is sent back and was not given out`)
    else {
      const key = `${group} ${delivery.message}`
      this.#origins.set(key, [...(this.#origins.get(key) ?? []), `${name}@${offset}`])
    }
    this.#finish(event, queue)
  }

  #failed(event: Of<'handler.failed'>): void {
    const queue = this.#queueOf(event)
    this.#ended(event, queue)
    queue.lastFailure = event.at
  }

  #ended({ consumer, offset }: { consumer: string; offset: number }, queue: GroupQueue): void {
    const running = queue.running.get(consumer)
    running?.delete(offset)
    if (running?.size === 0) queue.running.delete(consumer)
  }

  #granted(event: Of<'queue.granted'>): void {
    const { consumer, assignEpoch, run, committed, maxOffset, queue: name } = event
    const queue = this.#queueOf(event)
    queue.owners.set(run, { consumer, assignEpoch })
    queue.grants.add(`${consumer} ${assignEpoch}`)
    // A new master learns only later that all it has is confirmed.
    const isBehind = this.#brokers.isReplicated(brokerOf(name))
    if (committed !== null && committed > maxOffset && !isBehind)
      this.#found('committed beyond the end', `${committed} of ${name}, which ends at ${maxOffset}`)
    if ((committed ?? -1) < queue.committed && !this.#isTorn(name)) {
      this.#found(
        'committed offset lost',
        `${consumer} is told ${committed} of ${name}, where ${queue.committed} was confirmed`,
      )
    }
  }

  #settled({ group, queues, owned }: Of<'group.settled'>): void {
    for (const { queue, owner, committed, minOffset, maxOffset } of queues) {
      const says = Object.keys(owned).filter((consumer) => owned[consumer]!.includes(queue))
      if (owner === null || says.length !== 1 || says[0] !== owner) {
        const whose = says.length === 0 ? 'nobody' : says.join(' and ')
        this.#found('no owner', `${queue} of ${group}: the broker says ${owner}, and it is read by ${whose}`)
      }
      if (committed !== null && committed > maxOffset)
        this.#found('committed beyond the end', `${committed} of ${queue}, which ends at ${maxOffset}`)
      if ((committed ?? minOffset) < maxOffset)
        this.#found('not drained', `${group} committed ${committed} of ${queue}, which ends at ${maxOffset}`)
    }
  }

  // --------------------------------------------------------------------------------------------------- logs

  #checkLog({ queue, minOffset, maxOffset, messages }: Of<'log.read'>): void {
    let next = minOffset
    const sequences = new Map<string, number>()
    for (const logged of messages) {
      const { offset, message } = logged
      if (offset !== next) this.#found('gap in the log', `${queue} has ${offset} where ${next} is due`)
      next = offset + 1
      this.#stands(queue, logged, true)
      const sent = this.#sent.get(message)
      if (sent === undefined) this.#found('never sent', `${queue}@${offset} is ${message}`)
      else if (sent.messageGroup !== null) {
        const line = `${sent.sender} ${sent.messageGroup}`
        const before = sequences.get(line) ?? -1
        if (sent.sequence < before)
          this.#found('reordered', `${queue}@${offset} is ${message}, after ${sent.sender}/${before}`)
        sequences.set(line, Math.max(before, sent.sequence))
      }
    }
    if (next !== maxOffset)
      this.#found('gap in the log', `${queue} is read to ${next} and ends at ${maxOffset}`)
  }

  #checkDuplicates(): void {
    type Copy = { place: string; messageId: string; frame: string }
    const copies = new Map<string, Copy[]>()
    for (const { queue, messages } of this.#logs.values()) {
      for (const { offset, message, messageId, frame } of messages) {
        const copy = { place: `${queue}@${offset}`, messageId, frame }
        const others = copies.get(message)
        if (others === undefined) {
          copies.set(message, [copy])
          continue
        }
        // What was delayed is numbered by the broker that stores it when it is due: each numbers its own.
        const isApart = (other: Copy) =>
          isOfBroker(frame) ? brokerOf(other.place) !== brokerOf(queue) : other.frame !== frame
        const isMoved = others.every((other) => other.messageId === messageId && isApart(other))
        const first = others[0]!
        others.push(copy)
        if (isMoved && this.#sent.get(message)?.messageGroup === null) continue
        const places = `${first.place} (${first.messageId}) and ${copy.place} (${messageId})`
        this.#found('duplicate', `${message} is stored twice: ${places}`)
      }
    }
  }

  #checkDelayed(): void {
    if (this.#logs.size === 0) return
    const found = new Set<string>()
    for (const { messages } of this.#logs.values())
      for (const { message, messageId } of messages) found.add(`${message} ${messageId}`)
    for (const { message, messageId, broker } of this.#delayed) {
      const isExcused =
        this.#brokers.isAsynchronous(broker) || this.#brokers.isTorn(broker) || this.#filled.has(broker)
      if (!isExcused && !found.has(`${message} ${messageId}`))
        this.#found(
          'lost',
          `${message} (${messageId}) was acknowledged by ${broker}, to be delivered later, and never was`,
        )
    }
  }

  #checkStored({ at, message, queue, offset, epoch, messageId, answeredAt = at }: Stored): void {
    const log = this.#logs.get(queue)
    if (log === undefined) return
    if (offset < log.minOffset && this.#filled.has(brokerOf(queue))) return
    const logged = log.messages[offset - log.minOffset]
    if (logged?.message === message && logged.messageId === messageId) return
    // It was stored after it was sent; its receipt may have been under way for long.
    const { at: sentAt = at, bytes = 0 } = this.#sent.get(message) ?? {}
    const broker = brokerOf(queue)
    if (this.#brokers.mayMiss({ broker, epoch, sentAt, at, answeredAt, bytes })) return
    const instead = logged ? `${logged.message} (${logged.messageId})` : 'nothing'
    this.#found(
      'lost',
      `${message} (${messageId}) was acknowledged as ${queue}@${offset}; there is ${instead}`,
    )
  }

  #checkCoverage(group: string, { queue, messages }: Of<'log.read'>): void {
    const ahead = this.#isTorn(queue) ? this.#queueOf({ group, queue }).ahead : new Map<number, number>()
    for (const { offset, epoch, message } of messages) {
      if (this.#received.has(`${group} ${queue}@${offset} ${message}`)) continue
      // Known: who had read beyond the cut does not come back for what now stands there.
      if ([...ahead].some(([before, end]) => before < epoch && end > offset)) continue
      this.#found('never handled', `${group} never handled ${message}, ${queue}@${offset}`)
    }
  }
}
