/**
 * The streams of a register in JetStream: one a key, with one subject, created when it is missing.
 *
 * One that is there already is used only when it is a register's: another subject, a limit of age, or reads that any
 * copy answers would break what register-jetstream.ts promises. Nobody may delete or purge its messages: the sequence
 * would go on, and the key could never be swapped again. A stream that is deleted as a whole is created again at the next
 * use: it is empty, which is told as a register that was put back.
 */
import { fail, type Outcome, done as succeeded } from './failures.ts'
import {
  type JetStream,
  type JetStreamError,
  jetStreamCodes,
  jetStreamFailure,
  type StreamConfig,
} from './jetstream.ts'
import type { Clock, Log } from './ports.ts'
import type { Subjects } from './subjects.ts'

/** How many values a stream keeps: the last one counts, the others are for people who ask what happened. */
const HISTORY = 8
const STREAM_NAME_MAX = 255

/** Opens each stream once, and again AFTER it was found missing; who asks meanwhile waits for the same answer. */
export function openStreams(
  jetStream: JetStream,
  register: Subjects['register'],
  replicas: number,
  { clock, log }: { clock: Clock; log: Log },
) {
  type Opened = (outcome: Outcome<void>) => void
  const open = new Set<string>()
  const waiting = new Map<string, Opened[]>()

  function settle(key: string, outcome: Outcome<void>): void {
    const all = waiting.get(key)!
    waiting.delete(key)
    if (outcome.ok) open.add(key)
    for (const done of all) done(outcome)
  }

  /** `refused`: why it could not be created, when that was tried. */
  function find(key: string, refused?: JetStreamError): void {
    const wanted = streamOf(register, key, replicas)
    if (wanted.name.length > STREAM_NAME_MAX) return clock.defer(() => settle(key, tooLong(wanted.name)))
    jetStream.streamInfo(wanted.name, (outcome) => {
      if (!outcome.ok) return settle(key, outcome)
      const { error } = outcome.value
      if (error === null) return settle(key, checked(outcome.value.value.config, wanted, log))
      const isMissing = error.err_code === jetStreamCodes.streamNotFound
      if (isMissing && refused !== undefined) return settle(key, notCreated(wanted, refused))
      if (isMissing) return create(key, wanted)
      settle(key, jetStreamFailure(`to tell of the stream '${wanted.name}'`, error))
    })
  }

  function create(key: string, wanted: StreamConfig): void {
    jetStream.createStream(wanted, (outcome) => {
      if (!outcome.ok) return settle(key, outcome)
      const { error } = outcome.value
      if (error === null) settle(key, succeeded)
      else if (wasFaster.has(error.err_code)) find(key, error)
      else settle(key, notCreated(wanted, error))
    })
  }

  return {
    open(key: string, done: Opened): void {
      if (open.has(key)) return done(succeeded)
      const others = waiting.get(key)
      if (others !== undefined) return void others.push(done)
      waiting.set(key, [done])
      find(key)
    },
    /** JetStream says that there is no such stream. */
    missing(key: string): void {
      if (open.delete(key))
        log.warn(
          `the stream '${register.stream(key)}' of the register was deleted: it is created again, and empty`,
        )
    },
  }
}

/** What somebody who creates the same stream at this moment leaves to the slower one. */
const wasFaster: ReadonlySet<number> = new Set([
  jetStreamCodes.streamNameInUse,
  jetStreamCodes.subjectsOverlap,
])

const notCreated = ({ name }: StreamConfig, error: JetStreamError) =>
  jetStreamFailure(`to create the stream '${name}'`, error)

const tooLong = (name: string) =>
  fail(
    'malformed',
    `NATS takes no stream name above ${STREAM_NAME_MAX} characters, as '${name}': shorten the name of the broker or of the cluster`,
  )

const streamOf = (register: Subjects['register'], key: string, replicas: number): StreamConfig => ({
  name: register.stream(key),
  subjects: [register.value(key)],
  storage: 'file',
  retention: 'limits',
  discard: 'old',
  num_replicas: replicas,
  max_msgs_per_subject: HISTORY,
  max_msgs: -1,
  max_bytes: -1,
  max_age: 0,
  allow_direct: false,
  deny_delete: true,
  deny_purge: true,
})

/** A stream that was there already: whether a register can stand on it. */
function checked(found: StreamConfig, wanted: StreamConfig, log: Log): Outcome<void> {
  const { num_replicas: copies, ...rest } = found
  const { num_replicas: wantedCopies, ...needed } = wanted
  const wrong = Object.entries(needed).filter(
    ([name, value]) => JSON.stringify(rest[name as keyof typeof rest]) !== JSON.stringify(value),
  )
  if (wrong.length > 0)
    return fail(
      'inUse',
      `the stream '${found.name}' is there and no register's: it must have ${wrong
        .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
        .join(', ')}; remove it or set it so`,
    )
  if (copies !== wantedCopies)
    log.warn(`the stream '${found.name}' has ${copies} copies where ${wantedCopies} are wanted`, {
      repair: `nats stream edit ${found.name} --replicas ${wantedCopies}`,
    })
  return succeeded
}
