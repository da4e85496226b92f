/** What may happen next in a group of consumers. Timers come as steps, wherever they are set; whatever harms has a budget. */
import type { QueueClaim } from '../../machines/queue-owner.ts'
import type { QueueNews } from '../../machines/rebalancer.ts'
import type { GroupBudget, GroupCourse } from './group-course.ts'
import { addresseeOf } from './group-course.ts'
import { roundsOf } from './group-slots.ts'
import type { Slot } from './group-words.ts'

/** Of the first coordinator. Those that follow have lower ones and higher ones, in turn. */
export const FIRST = 10

export function groupSteps(course: GroupCourse) {
  const { configuration, slots, queues, coordinators, slotIds, queueIds } = course
  const { messages = 0, brokers = 1, isHasty = false } = configuration

  /** One step, and what it costs. */
  const step = (name: string, spends: GroupBudget | null, happens: () => void) => {
    if (spends !== null && course.left(spends) === 0) return
    course.begin(() => name, spends)
    happens()
    course.end()
  }

  function ofSlot(slot: number): void {
    const it = course.slotAt(course.current, slot)
    const who = `consumer ${slot}`
    if (it.status === 'absent')
      step(`${who} starts`, 'joins', () => course.toSlot(slot, { is: 'start' }, 'start'))
    else if (it.status === 'paused')
      step(`${who} wakes`, null, () => course.toSlot(slot, { is: 'wake' }, 'wake'))
    if (it.status === 'up') ofLiving(slot, it, who)
  }

  function ofLiving(slot: number, it: Slot, who: string): void {
    for (const id of Object.keys(it.timers)) {
      const cost = id.includes('.leaveLimit.') ? 'forces' : null
      step(`${id} of ${who} is over`, cost, () => course.toSlot(slot, { is: 'timer', id }, `timer ${id}`))
    }
    const { held } = slots.contextOf(it)
    if (Object.values(held).some(({ isDue }) => isDue))
      step(`${who} asks for queues again`, null, () => course.event(slot, { type: 'retry.elapsed' }))
    for (const round of roundsOf(slots.contextOf(it))) {
      const late = Object.keys(held).filter((key) => held[key]!.round === round)
      step(`${who} has waited long enough for ${late}`, costOf(late), () =>
        course.event(slot, { type: 'handOff.elapsed', round } as never),
      )
    }
    for (const queue of queueIds) reading(slot, it, queue, who)
    const change = (name: 'pause' | 'crash', spends: GroupBudget) =>
      step(`${who}: ${name}`, spends, () => course.toSlot(slot, { is: name }, name))
    change('pause', 'pauses')
    change('crash', 'crashes')
    const { isMember, isLeaving } = course.beliefs(course.current, slot)
    if (!isLeaving) step(`${who} is closed`, 'closes', () => course.event(slot, { type: 'consumer.closed' }))
    if (isMember)
      step(`a beat of ${who} gets lost`, 'losses', () => course.event(slot, { type: 'beat.failed' }))
  }

  /** An owner that lives and goes on is forced only at a price; where nobody reads and nothing moves, at none. */
  const costOf = (late: readonly string[]): GroupBudget | null =>
    late.every((key) => isLeft(slots.keys.indexOf(key))) ? null : 'forces'

  function isLeft(queue: number): boolean {
    const { record, answers } = queues.all.at(course.current[course.queue + queue]!)
    const { assignEpoch, owner } = record
    const isHeld = slotIds.some((slot) => course.beliefs(course.current, slot).epochs[queue] === assignEpoch)
    const isMoving = course.netOf(course.current).some((id) => {
      const message = course.messages.at(id)
      return 'queue' in message && message.queue === queue
    })
    return owner !== null && !isHeld && !isMoving && answers.length === 0
  }

  function reading(slot: number, it: Slot, queue: number, who: string): void {
    const read = it.reads[queue]
    if (!read) return
    const { clientId } = slots.own[slot]!
    const at = (is: 'read' | 'fenced' | 'finish' | 'commit') =>
      step(`${who}: ${is} queue ${queue}`, null, () => course.toSlot(slot, { is, queue }, `${is} ${queue}`))
    if (read.isRunning) at('finish')
    else if (!read.isStopped) {
      const { record } = queues.all.at(course.current[course.queue + queue]!)
      if (!course.rules.mayPull(record, clientId, read.assignEpoch)) at('fenced')
      else if (read.position < messages) at('read')
    }
    if (read.position > read.sent && !read.isStopped) at('commit')
  }

  function ofMessage(id: number): void {
    const message = course.messages.at(id)
    const to = addresseeOf(message)
    if (to !== null && course.slotAt(course.current, to).status !== 'up') return
    const text = course.textOf(id)
    step(`arrives: ${text}`, null, () => {
      course.taken(id)
      arrive(id)
    })
    if (course.left('losses') > 0 && mayBeLost(id)) {
      step(`gets lost: ${text}`, 'losses', () => {
        course.taken(id)
        lost(id)
      })
    }
    if ('isOrphan' in message && !message.isOrphan) {
      step(`is late: ${text}`, 'delays', () => {
        course.taken(id)
        course.send({ ...message, isOrphan: true })
        lost(id)
      })
    }
  }

  function arrive(id: number): void {
    const message = course.messages.at(id)
    const { slot } = message
    const { clientId, instance } = slots.own[slot]!
    switch (message.kind) {
      case 'join': {
        const { generation, held, isOrphan } = message
        const event = { type: 'member.joined', ...slots.own[slot]!, generation, held }
        if (!isOrphan && course.slotAt(course.next, slot).status === 'paused')
          course.send({ kind: 'unanswered', slot })
        return course.toCoordinator({ is: 'event', event }, !isOrphan)
      }
      case 'leaving':
      case 'left': {
        const event = { type: `member.${message.kind}`, clientId, instance }
        return course.toCoordinator({ is: 'event', event })
      }
      case 'unanswered':
        return unanswered(slot)
      case 'push': {
        const { generation, members, share } = message
        return course.event(slot, { type: 'members.changed', generation, members, share } as never)
      }
      case 'claim':
      case 'release':
      case 'commit':
      case 'gone':
        return course.toQueue(message.queue, { is: 'message', message }, `m${id}`)
      case 'granted': {
        const { queue, generation, assignEpoch, committed } = message
        return course.toSlot(slot, { is: 'claimed', queue, generation, assignEpoch, committed }, `m${id}`)
      }
      case 'refused': {
        const { generation, owner, ownerGeneration } = message
        const queue = slots.keys[message.queue]!
        return heard(slot, { type: 'claim.refused', queue, generation, owner, ownerGeneration })
      }
      case 'failed':
        return failed(slot, message.queue, message.generation)
      case 'released': {
        const { queue, generation, assignEpoch } = message.release
        return course.toSlot(slot, { is: 'released', queue, generation, assignEpoch }, `m${id}`)
      }
    }
  }

  const failed = (slot: number, queue: number, generation: number) =>
    heard(slot, { type: 'claim.failed', queue: slots.keys[queue]!, generation })
  const unanswered = (slot: number) =>
    course.event(slot, { type: 'join.failed', code: 'timedOut', message: '' } as never)
  const heard = (slot: number, news: QueueNews) =>
    course.event(slot, { type: 'queues.heard', news: [news] } as never)

  /** The loss of a message of which nobody expects anything is no other than its delay. */
  function mayBeLost(id: number): boolean {
    const message = course.messages.at(id)
    if ('isOrphan' in message && message.isOrphan) return false
    if (message.kind === 'release') return !course.rules.repeatsReleases // Else it is simply sent again.
    return message.kind !== 'failed' && message.kind !== 'unanswered'
  }
  /** Whoever has asked knows only that nobody answers. */
  function lost(id: number): void {
    const message = course.messages.at(id)
    if (message.kind === 'claim' || message.kind === 'granted' || message.kind === 'refused')
      failed(message.slot, message.queue, message.generation)
    else if (message.kind === 'join') unanswered(message.slot)
    else if (message.kind === 'release' || message.kind === 'released') lostRelease(id)
    else if (message.kind === 'commit' && course.slotAt(course.next, message.slot).status === 'up')
      course.toSlot(message.slot, { is: 'commitLost', queue: message.queue })
  }

  function lostRelease(id: number): void {
    const message = course.messages.at(id)
    if (message.kind !== 'release' && message.kind !== 'released') return
    const release = message.kind === 'release' ? message : message.release
    if (course.rules.repeatsReleases) return course.send(release)
    const { slot, queue, generation, assignEpoch } = release
    if (course.slotAt(course.next, slot).status === 'up')
      course.toSlot(slot, { is: 'released', queue, generation, assignEpoch })
  }

  function ofCoordinator(): void {
    const it = coordinators.all.at(course.current[0]!)
    for (const [id, event] of Object.entries(it.timers)) {
      if (!mayElapse(id, event as never)) continue
      step(`${id} of the coordinator is over`, null, () => course.toCoordinator({ is: 'timer', id }))
    }
    const { coordinatorCrashes = 0 } = configuration
    const nth = coordinatorCrashes - course.left('coordinatorCrashes') + 1
    for (const [what, number] of [
      ['lower', FIRST - nth],
      ['higher', FIRST + nth],
    ] as const) {
      step(`another coordinator, that knows nothing, of a ${what} number`, 'coordinatorCrashes', () => {
        course.next[0] = coordinators.fresh(number)
      })
    }
  }

  /** Whoever beats is not dropped; and a new coordinator waits until all that beat have joined again. */
  function mayElapse(id: string, event: { clientId: string; instance: string }): boolean {
    if (id.startsWith('session/') || id.startsWith('silence/'))
      return course.slotAt(course.current, coordinators.slotOf(event)).status !== 'up'
    if (!id.includes('.gatherWindow.') || isHasty) return true
    const { members } = coordinators.contextOf(coordinators.all.at(course.current[0]!))
    return slotIds.every((slot) => {
      const { clientId } = slots.own[slot]!
      const { status } = course.slotAt(course.current, slot)
      return status !== 'up' || members[clientId] !== undefined
    })
  }

  function ofQueue(queue: number): void {
    const it = queues.all.at(course.current[course.queue + queue]!)
    const happens = (name: string, is: 'expiry' | 'confirm' | 'reset', spends: GroupBudget | null) =>
      step(`queue ${queue}: ${name}`, spends, () => course.toQueue(queue, { is }, is))
    if (it.waiting) happens('the claim has waited long enough', 'expiry', 'expiries')
    if (it.confirmed || it.answers.length > 0) happens('the log is confirmed', 'confirm', null)
    happens('is set back', 'reset', 'resets')
    const { owner } = it.record
    if (owner) step(`queue ${queue}: its owner is doubted`, 'doubts', () => doubt(queue, owner))
  }

  /** Somebody pops, and finds the queue owned. What is told is on its way to the broker for as long as it takes. */
  function doubt(queue: number, { clientId, instance = '', generation }: QueueClaim): void {
    const event = { type: 'owners.doubted', clientIds: [clientId], generation } as never
    course.toCoordinator({ is: 'event', event }, true, ({ gone, generation: later }) => {
      if (gone === null) course.seen.add('a doubt is not settled yet')
      if (!gone?.includes(clientId)) return
      course.send({
        kind: 'gone',
        queue,
        slot: coordinators.slotOf({ clientId, instance }),
        generation: later,
      })
    })
  }

  function ofBrokers(): void {
    for (let broker = 0; broker < brokers; broker++) {
      const its = queueIds.filter((queue) => queue % brokers === broker)
      for (const is of ['failover', 'loss'] as const) {
        const name = `broker ${broker}: another master${is === 'loss' ? ', without what was not confirmed' : ''}`
        step(name, 'brokerCrashes', () => {
          for (const queue of its) {
            course.toQueue(queue, { is }, is)
            // Whoever hears of another master tells it anew how far it is.
            for (const slot of slotIds) {
              const { status, reads } = course.slotAt(course.next, slot)
              if ((status === 'up' || status === 'paused') && reads[queue])
                course.toSlot(slot, { is: 'commitLost', queue })
            }
          }
        })
      }
    }
  }

  return function steps(): void {
    for (const slot of slotIds) ofSlot(slot)
    let last = -1
    for (const id of course.netOf(course.current)) {
      if (id !== last) ofMessage(id)
      last = id
    }
    ofCoordinator()
    for (const queue of queueIds) ofQueue(queue)
    ofBrokers()
  }
}
