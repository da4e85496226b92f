/**
 * Inspect: the state of every actor of a cluster, wherever it runs, and its transitions as they happen.
 */
import { Observable, ReplaySubject, shareReplay, takeUntil } from 'rxjs'
import { ask, decode } from '../../transport/codec.ts'
import type { ActorView, Transition } from '../../transport/messages.ts'
import { transition as transitionSchema } from '../../transport/messages.ts'
import { StateMQError, settle } from '../errors.ts'
import type { Process } from '../node/process.ts'

const ASK_MS = 2_000
/** Nobody knows how many processes there are: the list is whole when none has answered for a while. */
const FIRST_MS = 1_000
const QUIET_MS = 150
const LEASE_MS = 15_000
const RENEW_MS = 5_000

export class Inspect {
  readonly #process: Process
  /** Told once: who watches then, or begins to later, is told that it is over. */
  readonly #closed = new ReplaySubject<void>(1)
  /** All actors, now and after every transition of any of them. */
  readonly actors$: Observable<readonly ActorView[]>

  constructor(process: Process) {
    this.#process = process
    this.actors$ = this.#watchAll().pipe(
      takeUntil(this.#closed),
      shareReplay({ bufferSize: 1, refCount: true }),
    )
  }

  /** All actors at this moment, sorted by address. */
  actors(): Promise<ActorView[]> {
    const { clock, random, transport } = this.#process.world
    return new Promise((resolve) => {
      const views = new Map<string, ActorView>()
      const inbox = `_INBOX.${random.id()}`
      const finish = () => {
        answers.unsubscribe()
        resolve([...views.values()].sort((a, b) => (a.address < b.address ? -1 : 1)))
      }
      let timer = clock.setTimeout(finish, FIRST_MS)
      const answers = transport.subscribe(inbox, (payload, _reply, _subject) => {
        if (payload.length === 0) return
        const { value } = JSON.parse(payload.toString()) as { value?: ActorView[] }
        for (const view of value ?? []) views.set(view.address, view)
        clock.clearTimeout(timer)
        timer = clock.setTimeout(finish, QUIET_MS)
      })
      transport.publish(this.#process.subjects.inspect.list, Buffer.from('{}'), inbox)
    })
  }

  /** One actor; throws QUERY_NOT_FOUND when nobody hosts it. */
  actor(address: string): Promise<ActorView> {
    this.#checkAddress(address)
    return new Promise((resolve, reject) => {
      ask(
        this.#process.world.transport,
        this.#process.subjects.inspect.show(address),
        {},
        ASK_MS,
        (outcome) =>
          settle(outcome, `inspecting ${address}`, resolve, (error) => reject(notFound(error, address))),
      )
    })
  }

  /** The transitions of one actor from now on. Fails when nobody hosts it any more. */
  watch(address: string): Observable<Transition> {
    return new Observable<Transition>((observer) => {
      this.#checkAddress(address)
      const { clock, transport } = this.#process.world
      const { inspect } = this.#process.subjects
      const heard = transport.subscribe(inspect.transitions(address), (payload) => {
        const parsed = decode(transitionSchema, payload)
        if (parsed.ok) observer.next(parsed.value)
      })
      let timer: unknown = null
      const renew = () => {
        ask(transport, inspect.watch(address), { leaseMs: LEASE_MS }, ASK_MS, (outcome) =>
          settle(
            outcome,
            `watching ${address}`,
            () => {
              if (!observer.closed) timer = clock.setTimeout(renew, RENEW_MS)
            },
            (error) => observer.error(notFound(error, address)),
          ),
        )
      }
      renew()
      return () => {
        heard.unsubscribe()
        clock.clearTimeout(timer)
      }
    }).pipe(takeUntil(this.#closed))
  }

  /** @internal Ends what is watched: the connection goes. */
  close(): void {
    this.#closed.next()
  }

  #watchAll(): Observable<readonly ActorView[]> {
    return new Observable((observer) => {
      const { clock, transport } = this.#process.world
      const { inspect } = this.#process.subjects
      const views = new Map<string, ActorView>()
      let timer: unknown = null
      let isOver = false
      const tell = () => observer.next([...views.values()])
      const heard = transport.subscribe(inspect.transitions('>'), (payload) => {
        const parsed = decode(transitionSchema, payload)
        if (!parsed.ok) return
        const { address, to, at, context } = parsed.value
        const view = views.get(address)
        if (!view) return
        views.set(address, { ...view, context, ...(to === view.state ? {} : { state: to, since: at }) })
        tell()
      })
      const renew = async () => {
        const actors = await this.actors()
        if (isOver) return
        views.clear()
        for (const view of actors) {
          views.set(view.address, view)
          transport.publish(inspect.watch(view.address), Buffer.from(JSON.stringify({ leaseMs: LEASE_MS })))
        }
        // BEFORE the list is told: who hears it may leave at once.
        timer = clock.setTimeout(renew, RENEW_MS)
        tell()
      }
      void renew()
      return () => {
        isOver = true
        heard.unsubscribe()
        clock.clearTimeout(timer)
      }
    })
  }

  #checkAddress(address: string): void {
    if (typeof address === 'string' && /^[^\s.*>/]+(\/[^\s.*>/]+)+$/.test(address)) return
    throw new StateMQError(
      'INVALID_PARAMETER',
      `'${address}' is no address: see 'statemq inspect' for those there are`,
    )
  }
}

function notFound(error: StateMQError, address: string): StateMQError {
  if (error.code !== 'NO_RESPONDERS') return error
  return new StateMQError('QUERY_NOT_FOUND', `no actor has the address '${address}': see 'statemq inspect'`, {
    cause: error,
  })
}
