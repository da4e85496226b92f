/**
 * What a model of a consumer group contains, and the models that every run of the tests goes through whole.
 *
 * The number of worlds is part of a model: fewer would mean that the model, not the machine, has become easier. So is what
 * was seen on the way: a model in which nothing happens proves nothing.
 */
import type { Allocation } from '../../machines/allocation/index.ts'

export type GroupConfiguration = {
  /** How many consumers belong to the group when it begins, settled. */
  members: number
  queues: number
  /** The queues are dealt out to so many brokers, in turn. */
  brokers?: number
  /** Messages that wait in each queue. */
  messages?: number
  allocation?: Allocation
  /** Consumers that start later. */
  joins?: number
  /** The late ones have client ids of those that are there already. */
  takesOver?: boolean
  /** Consumers that are closed: they finish, give back, leave. */
  closes?: number
  /** Consumers that are gone at once. */
  crashes?: number
  /** Consumers that stand still, hear nothing, and wake when it may be too late. */
  pauses?: number
  /** Messages that get lost: whoever has asked knows only that there was no answer. */
  losses?: number
  /** Requests that arrive after whoever has asked gave them up. */
  delays?: number
  /** Owners that are taken for too slow. */
  forces?: number
  /** Claims that have waited at the broker for as long as they may. */
  expiries?: number
  /** Queues that an operator sets back to their beginning. */
  resets?: number
  /** Coordinators that are replaced by one that knows nothing. */
  coordinatorCrashes?: number
  /** Masters that are replaced; what was not confirmed may be lost. */
  brokerCrashes?: number
  /** A new coordinator may divide BEFORE all that live have joined again. */
  isHasty?: boolean
  /** Nothing happens that entitles anybody to read a message twice. */
  isClean?: boolean
}

export type GroupModel = { name: string; configuration: GroupConfiguration; worlds: number; sees: string[] }
