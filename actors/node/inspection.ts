/**
 * First sight of state: every actor of this process answers for itself over the transport.
 *
 * NOTHING is published while nobody watches. A watcher takes a lease of seconds and renews it; when it is gone, the
 * last lease runs out and the actor is left alone again. `since` is kept by one comparison at each transition.
 */
import type { AnyActor } from 'xstate'
import { accept, encode, refuse, serve } from '../../transport/codec.ts'
import { codes } from '../../transport/codes.ts'
import { type ActorView, nothing, type Transition, watchRequest } from '../../transport/messages.ts'
import type { Subjects } from '../../transport/subjects.ts'
import type { Subscription, Transport } from '../../transport/transport.ts'
import type { Clock } from './world.ts'

/** Lists hosted actors. `add` returns how to take one off the list. */
export interface Directory {
  add(address: string, machine: string, actor: AnyActor): () => void
}

export type ProcessDirectory = Directory & {
  views(): ActorView[]
  close(): void
}

type Entry = {
  address: string
  machine: string
  actor: AnyActor
  state: string
  since: number
  watched: { until: number; stop(): void } | null
  subscriptions: Subscription[]
}

type MachineSnapshot = { value: unknown; context: unknown }

/** `{ member: { heart: 'beating' } }` as `member.heart.beating`; parallel regions are joined by a comma. */
export function stateName(value: unknown): string {
  if (typeof value === 'string') return value
  return Object.entries(value as Record<string, unknown>)
    .map(([state, inner]) => {
      const name = stateName(inner)
      return name === '' ? state : `${state}.${name}`
    })
    .join(', ')
}

export function createDirectory(
  host: string,
  transport: Transport,
  subjects: Subjects,
  clock: Clock,
): ProcessDirectory {
  // Several may have one address: a producer and a consumer of a process each know the route of a topic.
  const entries = new Set<Entry>()
  const snapshotOf = (entry: Entry) => entry.actor.getSnapshot() as MachineSnapshot
  const viewOf = (entry: Entry): ActorView => ({
    address: entry.address,
    machine: entry.machine,
    state: entry.state,
    context: snapshotOf(entry).context,
    since: entry.since,
    host,
  })

  const list = serve(transport, subjects.inspect.list, nothing, (_, answer) => {
    if (entries.size > 0) answer(accept(Array.from(entries, viewOf)))
  })

  return {
    add(address, machine, actor) {
      const entry: Entry = {
        address,
        machine,
        actor,
        state: '',
        since: clock.now(),
        watched: null,
        subscriptions: [],
      }
      actor.subscribe({
        next({ value }: MachineSnapshot) {
          const state = stateName(value)
          if (state === entry.state) return
          entry.state = state
          entry.since = clock.now()
        },
        error() {}, // The host hears of it; an observer without this would crash the process from a timer.
      })
      entry.state = stateName(snapshotOf(entry).value)
      entries.add(entry)
      const { show, watch } = subjects.inspect
      entry.subscriptions.push(
        serve(transport, show(address), nothing, (_, answer) => answer(accept(viewOf(entry)))),
        serve(transport, watch(address), watchRequest, ({ leaseMs }, answer) => {
          if (actor.getSnapshot().status !== 'active') {
            return answer(refuse(codes.QUERY_NOT_FOUND, `'${address}' has stopped`))
          }
          watchUntil(entry, clock.monotonic() + leaseMs)
          answer(accept(viewOf(entry)))
        }),
      )
      return () => {
        entries.delete(entry)
        for (const subscription of entry.subscriptions) subscription.unsubscribe()
        // An actor that comes to its end is taken off within its last transition, which is told just after.
        clock.defer(() => entry.watched?.stop())
      }
    },
    views: () => Array.from(entries, viewOf),
    close() {
      list.unsubscribe()
      for (const entry of entries) {
        for (const subscription of entry.subscriptions) subscription.unsubscribe()
        entry.watched?.stop()
      }
      entries.clear()
    },
  }

  function watchUntil(entry: Entry, until: number): void {
    if (entry.watched) {
      entry.watched.until = Math.max(entry.watched.until, until)
      return
    }
    let from = entry.state
    const subject = subjects.inspect.transitions(entry.address)
    const inspection = entry.actor.system.inspect((inspected) => {
      if (inspected.type !== '@xstate.snapshot' || inspected.actorRef !== entry.actor) return
      const { value, context } = inspected.snapshot as unknown as MachineSnapshot
      const to = stateName(value)
      const transition: Transition = {
        address: entry.address,
        at: clock.now(),
        event: inspected.event.type,
        from,
        to,
        context,
      }
      from = to
      transport.publish(subject, encode(transition))
    })
    const watched = {
      until,
      stop() {
        clock.clearTimeout(timer)
        inspection.unsubscribe()
        entry.watched = null
      },
    }
    const look = () => {
      const left = watched.until - clock.monotonic()
      if (left <= 0) watched.stop()
      else timer = clock.setTimeout(look, left)
    }
    let timer = clock.setTimeout(look, until - clock.monotonic())
    entry.watched = watched
  }
}
