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
  /** Owners of which a group that pops asks whether they are gone. */
  doubts?: number
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

const alone = { members: 1, queues: 2, messages: 1 }
const two = { members: 2, queues: 2, messages: 1 }
/** Two coordinators that count alike divide one queue among the same two, each by what it knows of who has it. */
export const reused = {
  queues: 1,
  messages: 0,
  joins: 1,
  allocation: 'sticky',
  coordinatorCrashes: 1,
} as const
/**
 * Two newcomers may be the first at another coordinator, which counts more divisions by then than the one before it. Too
 * large to be gone through whole.
 */
export const strangers = {
  ...{ members: 1, queues: 1, messages: 0, joins: 2, coordinatorCrashes: 1, isClean: true },
} as const
const waits = 'a waiting claim is granted by a release'
const forced = 'a forced hand-over'
const freed = 'a queue is freed whose owner is gone'
const passedOver = 'a silent member is passed over'
const zombies = ['two believe to own a queue', 'a zombie is fenced', 'a late commit is refused']

/** Whatever gets lost or overtakes, nothing is handled twice. */
export const clean: GroupModel[] = [
  {
    name: 'a consumer joins, two messages in each queue',
    configuration: { ...alone, messages: 2, joins: 1, isClean: true },
    worlds: 6_032,
    sees: [waits],
  },
  {
    name: 'a consumer joins, a message is lost and a request comes late',
    configuration: { ...alone, joins: 1, losses: 1, delays: 1, isClean: true },
    worlds: 49_698,
    sees: [waits],
  },
  {
    name: 'two consumers join, one after the other',
    configuration: { ...alone, joins: 2, isClean: true },
    worlds: 64_290,
    sees: [waits],
  },
  {
    name: 'a consumer is closed, and a claim waits for long',
    configuration: { ...two, closes: 1, expiries: 1, isClean: true },
    worlds: 16_875,
    sees: [waits],
  },
  {
    name: 'a consumer joins, one is closed',
    configuration: { ...alone, joins: 1, closes: 1, isClean: true },
    worlds: 222_636,
    sees: [waits],
  },
  {
    name: 'a consumer joins, another master follows',
    configuration: { ...alone, joins: 1, brokerCrashes: 1, isClean: true },
    worlds: 21_950,
    sees: [waits],
  },
  {
    name: 'three queues at two brokers, a consumer joins, another master follows at one of them',
    configuration: {
      ...alone,
      queues: 3,
      brokers: 2,
      messages: 0,
      joins: 1,
      brokerCrashes: 1,
      isClean: true,
    },
    worlds: 560,
    sees: [waits],
  },
  {
    name: 'another coordinator follows, messages are lost',
    configuration: { ...two, coordinatorCrashes: 1, losses: 2, isClean: true },
    worlds: 13_632,
    sees: ['a gathering'],
  },
  {
    name: 'three consumers with three queues, another coordinator follows',
    configuration: { members: 3, queues: 3, messages: 0, coordinatorCrashes: 1, isClean: true },
    worlds: 71,
    sees: ['a gathering'],
  },
  {
    name: 'a consumer joins and another coordinator follows, while divisions of the first one are on their way',
    configuration: { ...alone, ...reused, isClean: true },
    worlds: 23_237,
    sees: [waits, 'a gathering'],
  },
  {
    name: 'one of two is closed while another coordinator waits for both, and whoever pops asks after them',
    configuration: {
      ...two,
      queues: 1,
      messages: 0,
      closes: 1,
      doubts: 1,
      coordinatorCrashes: 1,
      isClean: true,
    },
    worlds: 39_544,
    sees: ['a gathering', 'a doubt is not settled yet'],
  },
  {
    name: 'whoever pops asks after consumers that live, a message is lost and another coordinator follows',
    configuration: { ...two, doubts: 2, coordinatorCrashes: 1, losses: 1, isClean: true },
    worlds: 14_820,
    sees: ['a gathering', 'a doubt is not settled yet'],
  },
]

/** Somebody is overtaken: what is committed stays, and nothing is skipped. */
export const overtaken: GroupModel[] = [
  {
    name: 'a consumer crashes while another one joins',
    configuration: { ...two, crashes: 1, joins: 1 },
    worlds: 54_659,
    sees: [forced, waits, passedOver],
  },
  {
    name: 'a consumer stands still and wakes too late',
    configuration: { ...two, queues: 1, messages: 2, pauses: 1 },
    worlds: 24_848,
    sees: [forced, ...zombies],
  },
  {
    name: 'two queues, a consumer stands still',
    configuration: { ...two, messages: 0, pauses: 1 },
    worlds: 1_262,
    sees: [forced, waits, 'a zombie is fenced'],
  },
  {
    name: 'a consumer stands still while another one joins',
    configuration: { ...two, queues: 1, messages: 0, pauses: 1, joins: 1 },
    worlds: 61_592,
    sees: [forced, passedOver, 'a member that was passed over is heard of again', 'a zombie is fenced'],
  },
  {
    name: 'two of three consumers crash',
    configuration: { ...two, members: 3, messages: 0, crashes: 2 },
    worlds: 66_187,
    sees: [forced, passedOver],
  },
  {
    name: 'an owner is taken for too slow while a consumer joins',
    configuration: { ...alone, joins: 1, forces: 1 },
    worlds: 24_740,
    sees: [forced, ...zombies],
  },
  {
    name: 'a queue is set back while a consumer joins',
    configuration: { ...alone, joins: 1, resets: 1 },
    worlds: 13_541,
    sees: ['a zombie is fenced', 'a late commit is refused'],
  },
  {
    name: 'a queue is set back, another master follows',
    configuration: { ...two, queues: 1, messages: 2, resets: 1, brokerCrashes: 1 },
    worlds: 1_266,
    sees: ['a zombie is fenced'],
  },
  {
    name: 'a queue is set back while its reader stands still',
    configuration: { ...two, queues: 1, pauses: 1, resets: 1 },
    worlds: 73_083,
    sees: [forced, ...zombies],
  },
  {
    name: 'a consumer crashes and another coordinator follows',
    configuration: { ...two, messages: 0, crashes: 1, coordinatorCrashes: 1 },
    worlds: 7_111,
    sees: ['a gathering', forced],
  },
  {
    name: 'consumers crash, and whoever pops asks after them',
    configuration: { ...two, messages: 0, crashes: 2, doubts: 3 },
    worlds: 1_432,
    sees: [freed, 'a doubt is not settled yet', forced],
  },
  {
    name: 'whoever pops asks after a consumer that stands still',
    configuration: { ...two, queues: 1, pauses: 1, doubts: 2 },
    worlds: 101_767,
    sees: [freed, ...zombies],
  },
  {
    name: 'whoever pops asks a coordinator that knows nothing after a consumer that has crashed',
    configuration: { ...two, messages: 0, crashes: 1, doubts: 2, coordinatorCrashes: 1 },
    worlds: 70_169,
    sees: ['a gathering', freed, 'a doubt is not settled yet', forced],
  },
  {
    name: 'a consumer is closed and another coordinator follows',
    configuration: { ...two, messages: 0, closes: 1, coordinatorCrashes: 1 },
    worlds: 35_483,
    sees: ['a gathering', waits],
  },
  {
    name: 'a new coordinator divides BEFORE all have joined again',
    configuration: { ...two, messages: 0, coordinatorCrashes: 1, isHasty: true },
    worlds: 2_225,
    sees: ['a gathering', forced],
  },
  {
    name: 'a client id is taken over from a consumer that has crashed',
    configuration: { ...two, takesOver: true, joins: 1, crashes: 1 },
    worlds: 12_270,
    sees: ['a silent client id is taken over', 'a client id that is in use is refused', forced],
  },
  {
    name: 'a client id is taken over from a consumer that wakes again',
    configuration: { ...alone, queues: 1, messages: 0, takesOver: true, joins: 1, pauses: 1 },
    worlds: 472,
    sees: ['a silent client id is taken over', 'two believe to own a queue', 'a zombie is fenced'],
  },
  {
    name: 'a client id is taken over at a coordinator that knows nothing',
    configuration: { ...alone, queues: 1, messages: 0, takesOver: true, joins: 1, coordinatorCrashes: 1 },
    worlds: 693,
    sees: ['a client id that is in use is refused', 'two believe to own a queue', 'a zombie is fenced'],
  },
]

/** Too large to be gone through: chance leads. */
export const wildGroup: GroupConfiguration = {
  members: 2,
  queues: 3,
  brokers: 2,
  messages: 3,
  joins: 1,
  closes: 1,
  crashes: 1,
  pauses: 2,
  losses: 4,
  delays: 3,
  forces: 1,
  expiries: 3,
  resets: 1,
  doubts: 2,
  coordinatorCrashes: 1,
  brokerCrashes: 2,
  isHasty: true,
}
