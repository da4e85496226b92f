/**
 * The durability class of a broker: what a message survives from the moment it is acknowledged.
 *
 * It says what holds NOW and never what was ordered: a master that is alone counts one copy, however many were meant to
 * be, and NEVER counts a copy that an acknowledgement does not wait for. RocketMQ's words (SYNC_MASTER, ASYNC_FLUSH) name
 * settings; with its defaults a "synchronous" master that has lost its slaves goes on with one copy and tells nobody.
 *
 * RocketMQ: store/config/BrokerRole.java, FlushDiskType.java
 */
import type { BrokerDescription } from '../../transport/messages.ts'

export type Durability = {
  /** For people, such as 'async flush, 2 copies'. */
  class: string
  /** How many replicas have stored a message when it is acknowledged. */
  copies: number
  /** Whether it is on disk by then; else it is on its way there. */
  onDisk: boolean
  /** A sentence: what a message survives. */
  survives: string
}

export type Promised = Pick<
  BrokerDescription,
  'replication' | 'flush' | 'replicas' | 'minInSync' | 'syncStateSet'
>

/** As the master describes itself. */
export function durabilityOf({
  replication,
  flush,
  replicas,
  minInSync,
  syncStateSet,
}: Promised): Durability {
  if (replication === 'none') return oneCopy(flush === 'sync', `${flush} flush, 1 copy`)
  const members = syncStateSet.length
  if (members < minInSync) {
    return {
      class: `takes nothing: ${members} of ${minInSync} copies`,
      copies: 0,
      onDisk: false,
      survives: `nothing is acknowledged until ${minInSync} replicas are in the sync state set`,
    }
  }
  // A master that is alone acknowledges what is on its disk, whatever its flush: there is no second memory.
  if (members === 1) return oneCopy(true, `sync flush, 1 copy of ${replicas}`)
  const onDisk = flush === 'sync'
  if (replication === 'async') {
    const later = members - 1
    return {
      class: `${flush} flush, 1 copy + ${later} later`,
      copies: 1,
      onDisk,
      survives: 'as long as its master: a failover loses what no slave had stored yet, at most the lag',
    }
  }
  return {
    class: `${flush} flush, ${members} copies${members < replicas ? ` of ${replicas}` : ''}`,
    copies: members,
    onDisk,
    survives: onDisk
      ? `the loss of ${members - 1} of its ${members} disks, and a power cut of all machines`
      : `the loss of ${members - 1} of its ${members} machines; a power cut of all may take the last 500 ms`,
  }
}

const oneCopy = (onDisk: boolean, words: string): Durability => ({
  class: words,
  copies: 1,
  onDisk,
  survives: onDisk
    ? 'the death of its process and a power cut; not the loss of its disk'
    : 'the death of its process; a power cut may take the last 500 ms',
})
