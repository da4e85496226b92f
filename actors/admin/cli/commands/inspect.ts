/** `statemq inspect`: the live state of every actor; one actor in full; transitions as they happen. */
import type { Command } from 'commander'
import { type Cli, carriesOut, examples, interruption, type Settings, withClient } from '../cli.ts'
import type { ActorView, Client, Transition } from '../face.ts'
import { facts, faint, json, jsonLine, strong, table } from '../table.ts'
import { age, timeOfDay } from '../values.ts'

/** Actors that start while one watches are noticed after at most this long. */
const lookAgainMs = 2_000

export function addInspect(program: Command, cli: Cli): void {
  const { terminal, clock } = cli
  const command = program
    .command('inspect')
    .description('Show the state of every actor, or of one; --watch shows transitions as they happen.')
    .argument('[address]', 'an address from the list, e.g. broker/broker-a/0')
    .option('--watch', 'print transitions until Ctrl-C', false)
    .addHelpText(
      'after',
      examples('statemq inspect', 'statemq inspect broker/broker-a/0', 'statemq inspect --watch --json'),
    )

  carriesOut<{ watch: boolean }>(command, (settings, options, [address]) => {
    const what = address === undefined ? 'the actors' : `'${address}'`
    if (options.watch) {
      return withClient(cli, settings, `watch ${what}`, (client) => watch(client, settings, address), {
        endsItself: true,
      })
    }
    return withClient(cli, settings, `inspect ${what}`, async (client) => {
      if (address === undefined) showAll(settings, await client.inspect().actors())
      else showOne(settings, await client.inspect().actor(address))
    })
  })

  function showAll(settings: Settings, actors: ActorView[]): void {
    const sorted = [...actors].sort((a, b) => (a.address < b.address ? -1 : 1))
    const rows = sorted.map(({ address, machine, state, since, host }) => [
      address,
      machine,
      state,
      age(clock.now() - since),
      host,
    ])
    if (settings.json) terminal.write(json(sorted))
    else if (rows.length === 0) terminal.write('No actors run here. Start some: statemq start\n')
    else terminal.write(table(terminal, ['address', 'machine', 'state', 'for', 'host'], rows))
  }

  function showOne(settings: Settings, actor: ActorView): void {
    const { address, machine, state, since, host, context } = actor
    if (settings.json) terminal.write(json(actor))
    else {
      terminal.write(facts(terminal, { address, machine, state, for: age(clock.now() - since), host }))
      terminal.write(`\n${strong(terminal, 'context')}\n${json(context)}`)
    }
  }

  async function watch(client: Client, settings: Settings, address: string | undefined): Promise<void> {
    const inspect = client.inspect()
    const watched = new Map<string, { unsubscribe(): void }>()
    let failed = (_cause: unknown): void => {}
    const failure = new Promise<never>((_, reject) => {
      failed = reject
    })
    const follow = (one: string) => {
      if (watched.has(one)) return
      const leave = (cause?: unknown) => {
        watched.delete(one)
        // The one actor that was asked for must be there; of many, some may come and go.
        if (address !== undefined) failed(cause ?? new Error(`'${one}' has stopped`))
      }
      watched.set(one, { unsubscribe() {} })
      const subscription = inspect.watch(one).subscribe({
        next: (transition) => terminal.write(print(settings, transition)),
        error: leave,
        complete: leave,
      })
      if (watched.has(one)) watched.set(one, subscription)
    }
    const look = async () => {
      for (const actor of await inspect.actors()) follow(actor.address)
    }

    let timer: unknown
    const lookAgain = () => {
      timer = clock.setTimeout(() => look().then(lookAgain, failed), lookAgainMs)
    }
    if (address === undefined) {
      await look()
      lookAgain()
    } else follow(address)
    try {
      await Promise.race([interruption(terminal.signal), failure])
    } finally {
      clock.clearTimeout(timer)
      for (const subscription of watched.values()) subscription.unsubscribe()
    }
  }

  function print(settings: Settings, transition: Transition): string {
    if (settings.json) return jsonLine(transition)
    const { at, address, from, to, event } = transition
    return `${faint(terminal, timeOfDay(at))}  ${address}  ${from} -> ${strong(terminal, to)}  ${faint(terminal, event)}\n`
  }
}
