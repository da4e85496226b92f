/**
 * What a model of a broker group contains, and the models that every run of the tests goes through whole.
 *
 * The number of worlds is part of a model: fewer would mean that the model, not the machine, has become easier. So is what
 * was seen on the way: a model in which nothing happens proves nothing.
 */
export type Configuration = {
  replicas: number
  minInSync: number
  /** How many messages are sent, and up to which epoch there are elections. */
  sends: number
  epochs: number
  crashes?: number
  /** Crashes that cost what is not synced. */
  losses?: number
  /** Changes of the sync state set. */
  proposals?: number
  /** How often a member that cannot be spared seems to be gone. */
  silences?: number
  handovers?: number
  /** How often a master drops the beginning of its log. */
  retentions?: number
  /** How often the register goes back by one swap. */
  rollbacks?: number
  /** How often the register is lost, while every process stops. */
  wipes?: number
  /** Elections of whoever a person picks. */
  unclean?: number
  /** A replica may hear of an epoch after the register has gone on to a newer one. */
  lateHeads?: boolean
  /** A swap may be answered after who asked has left the mastership that it was for. */
  lateAnswers?: boolean
  /**
   * Data and answers are messages of their own, that may arrive long after they were sent. Else they arrive as they are
   * sent while the master is master, and late only when it is not: who gets data later might as well get it now and
   * acknowledge it later.
   */
  lateMessages?: boolean
  /** A vote may be old when the controller's swap is done. */
  staleVotes?: boolean
  /** Data may overtake data. */
  hasGaps?: boolean
  /** Nobody is master yet, and nothing was ever written. */
  startsEmpty?: boolean
}

export type Model = { name: string; configuration: Configuration; worlds: number; sees: string[] }

const two = { replicas: 2, minInSync: 1, sends: 1, epochs: 2 }
const three = { replicas: 3, minInSync: 1, sends: 1, epochs: 2 }
const usual = ['the register: failover', 'two believe to be master', 'a log is cut']
const changes = ['the register: shrink', 'the register: expand', 'a swap is tried again']
const long = 'entries of three epochs are confirmed'

export const ofTwo: Model[] = [
  {
    name: 'a change of the set',
    configuration: { ...two, proposals: 1 },
    worlds: 2_913,
    sees: [...usual, ...changes],
  },
  {
    name: 'two messages, a crash, two changes of the set',
    configuration: { ...two, sends: 2, crashes: 1, proposals: 2 },
    worlds: 107_839,
    sees: [...usual, ...changes],
  },
  {
    name: 'three epochs, a crash, two changes of the set',
    configuration: { ...two, epochs: 3, crashes: 1, proposals: 2 },
    worlds: 625_662,
    sees: [...usual, ...changes, long],
  },
  {
    name: 'three epochs, a loss of power, two changes of the set',
    configuration: { ...two, epochs: 3, losses: 1, proposals: 2 },
    worlds: 627_192,
    sees: [...usual, ...changes, long, 'a new lineage is admitted'],
  },
  {
    name: 'both must be in sync, three epochs, a crash, two changes of the set',
    configuration: { ...two, minInSync: 2, epochs: 3, crashes: 1, proposals: 2 },
    worlds: 56_448,
    sees: [...usual, long],
  },
  {
    name: 'both must be in sync, from nothing, a crash, two changes of the set',
    configuration: { ...two, minInSync: 2, startsEmpty: true, crashes: 1, proposals: 2 },
    worlds: 3_990,
    sees: [...usual, 'the register: boot', 'the register: expand'],
  },
  {
    name: 'both must be in sync, and seem gone; a crash, a change of the set',
    configuration: { ...two, minInSync: 2, epochs: 3, crashes: 1, proposals: 1, silences: 2 },
    worlds: 203_644,
    sees: [...usual, 'a member that seemed gone is back'],
  },
]

export const withFaults: Model[] = [
  {
    name: 'a crash, and heads that come late',
    configuration: { ...two, epochs: 3, crashes: 1, lateHeads: true },
    worlds: 86_611,
    sees: [...usual, 'REGISTER_REGRESSED'],
  },
  {
    name: 'a crash, old votes, and answers that come late',
    configuration: { ...two, crashes: 1, proposals: 2, lateAnswers: true, staleVotes: true },
    worlds: 40_481,
    sees: [...usual, ...changes, 'a late answer'],
  },
  {
    name: 'answers that come in a later mastership',
    configuration: { ...two, epochs: 3, proposals: 2, lateAnswers: true },
    worlds: 104_945,
    sees: [...usual, ...changes, 'a late answer'],
  },
  {
    name: 'a crash, and data that comes late and overtakes data',
    configuration: { ...two, crashes: 1, proposals: 1, lateMessages: true, hasGaps: true },
    worlds: 34_377,
    sees: [...usual, ...changes],
  },
  {
    name: 'a handover and a crash',
    configuration: { ...two, epochs: 3, handovers: 1, crashes: 1 },
    worlds: 242_634,
    sees: [...usual, 'the register: handover', 'a swap is tried again'],
  },
  {
    name: 'a log that loses its beginning, a crash, two changes of the set',
    configuration: { ...two, crashes: 1, proposals: 2, retentions: 1 },
    worlds: 80_053,
    sees: [...usual, ...changes, 'a new lineage is admitted'],
  },
  {
    name: 'a person takes a loss, and somebody was away',
    configuration: { ...two, epochs: 3, losses: 1, unclean: 1 },
    worlds: 161_404,
    sees: [...usual, 'the register: unclean'],
  },
  {
    name: 'the register is lost while all stand still',
    configuration: { ...two, epochs: 4, wipes: 1 },
    worlds: 169_123,
    sees: [...usual, 'the register: boot'],
  },
]

export const ofThree: Model[] = [
  { name: 'one message', configuration: three, worlds: 34_428, sees: usual },
  {
    name: 'two must be in sync, a change of the set',
    configuration: { ...three, minInSync: 2, proposals: 1 },
    worlds: 252_390,
    sees: [...usual, ...changes],
  },
  {
    name: 'two must be in sync, a crash',
    configuration: { ...three, minInSync: 2, crashes: 1 },
    worlds: 314_727,
    sees: usual,
  },
  {
    name: 'two must be in sync, three epochs',
    configuration: { ...three, minInSync: 2, sends: 0, epochs: 3 },
    worlds: 354_625,
    sees: [...usual, long],
  },
  {
    name: 'a person takes a loss, a change of the set',
    configuration: { ...three, sends: 0, proposals: 1, unclean: 1 },
    worlds: 72_381,
    sees: [...usual, ...changes, 'the register: unclean'],
  },
]

/** Too large to be gone through: chance leads. */
export const wild: Configuration = {
  replicas: 3,
  minInSync: 2,
  sends: 3,
  epochs: 6,
  crashes: 3,
  losses: 1,
  proposals: 5,
  handovers: 1,
  retentions: 1,
  lateHeads: true,
  lateAnswers: true,
  staleVotes: true,
}
