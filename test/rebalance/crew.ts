/** The members of the group: processes that are started, told to go, killed, and made to stand still. */
import { join } from 'node:path'
import type { Random } from '../../actors/node/world.ts'
import type { Processes, Running } from '../support/processes.ts'
import type { Change } from './figures.ts'
import { readJournal, sharedClock, type Told } from './journal.ts'
import type { Fault } from './judge.ts'
import type { MemberOptions } from './member.ts'

const moduleOfMember = new URL('./member.js', import.meta.url)

type Member = { name: string; running: Running; isPaused: boolean; isAsked: boolean }

export type CrewSettings = Omit<MemberOptions, 'clientId' | 'journal'> & { dir: string }

export class Crew {
  readonly faults: Fault[] = []
  readonly changes: Change[] = []
  /** Members that ended although nobody told them to. */
  readonly deaths: string[] = []
  readonly #processes: Processes
  readonly #settings: CrewSettings
  readonly #random: Random
  readonly #members: Member[] = []
  readonly #names: string[] = []
  readonly #resting = new Set<Promise<void>>()

  constructor(processes: Processes, settings: CrewSettings, random: Random) {
    this.#processes = processes
    this.#settings = settings
    this.#random = random
  }

  get size(): number {
    return this.#members.length
  }

  get paused(): number {
    return this.#members.filter(({ isPaused }) => isPaused).length
  }

  get joined(): number {
    return this.#names.length
  }

  /** Resolves when its process runs; it is given queues soon after. */
  async join(): Promise<string> {
    const name = `member-${this.#names.length + 1}`
    this.#names.push(name)
    const options: MemberOptions = { ...this.#settings, clientId: name, journal: this.#journalOf(name) }
    const running = await this.#processes.startModule(moduleOfMember, JSON.stringify(options))
    const member: Member = { name, running, isPaused: false, isAsked: false }
    this.#members.push(member)
    this.#changed('joined')
    void running.exited().then((code) => {
      if (member.isAsked) return
      this.deaths.push(`${name} ended by itself with ${code}: ${running.errors.slice(-2_000)}`)
      this.#remove(member)
    })
    return name
  }

  /** Resolves when it has left and ended. */
  async leave(): Promise<string> {
    const member = this.#draw()
    this.#remove(member)
    this.#changed('left')
    const code = await member.running.stop()
    if (code !== 0)
      this.deaths.push(`${member.name} left with ${code}: ${member.running.errors.slice(-2_000)}`)
    return member.name
  }

  async kill(): Promise<string> {
    const member = this.#draw()
    this.#remove(member)
    const from = sharedClock()
    await member.running.kill()
    this.faults.push({ member: member.name, kind: 'killed', from, to: sharedClock() })
    this.#changed('killed')
    return member.name
  }

  /** Returns at once; it goes on by itself after that time. */
  pause(ms: number): string {
    const member = this.#draw()
    member.isPaused = true
    const fault: Fault = {
      member: member.name,
      kind: 'paused',
      from: sharedClock(),
      to: Number.POSITIVE_INFINITY,
    }
    this.faults.push(fault)
    process.kill(member.running.pid, 'SIGSTOP')
    this.#changed('paused')
    const rest = new Promise<void>((resolve) => setTimeout(resolve, ms)).then(() => {
      fault.to = sharedClock()
      process.kill(member.running.pid, 'SIGCONT')
      member.isPaused = false
      this.#resting.delete(rest)
      this.#changed('resumed')
    })
    this.#resting.add(rest)
    return member.name
  }

  /** Nobody stands still any more. */
  async rested(): Promise<void> {
    while (this.#resting.size > 0) await Promise.all(this.#resting)
  }

  async close(): Promise<void> {
    while (this.size > 0) await this.leave()
  }

  /** What all of them noted, from first to last. */
  tell(): Told {
    const told: Told = { deliveries: [], ownerships: [] }
    for (const name of this.#names) {
      const { deliveries, ownerships } = readJournal(this.#journalOf(name), name)
      for (const delivery of deliveries) told.deliveries.push(delivery)
      told.ownerships.push(...ownerships)
    }
    return told
  }

  #journalOf(name: string): string {
    return join(this.#settings.dir, `${name}.journal`)
  }

  /** One of those that do not stand still. */
  #draw(): Member {
    const awake = this.#members.filter(({ isPaused }) => !isPaused)
    return awake[this.#random.below(awake.length)]!
  }

  #remove(member: Member): void {
    member.isAsked = true
    const at = this.#members.indexOf(member)
    if (at >= 0) this.#members.splice(at, 1)
  }

  #changed(kind: Change['kind']): void {
    const members = this.#members.filter(({ isPaused }) => !isPaused).map(({ name }) => name)
    this.changes.push({ at: sharedClock(), kind, members })
  }
}
