/** The register on three copies in a cluster of nats-servers, while the one that leads the stream is killed. */
import test from 'ava'
import type { Register } from '../../transport/register.ts'
import { registerAdvice } from '../../transport/register-advice.ts'
import { jetStreamSubjects } from '../../transport/subjects.ts'
import type { Transport } from '../../transport/transport.ts'
import { faultIn, SwapHistory } from '../support/linearizable.ts'
import { startNatsCluster } from '../support/nats-cluster.ts'
import { read, subjects, tryOpenJetStream } from '../support/registers.ts'
import { ask, close, notedLog, tryConnect } from '../support/transports.ts'
import { until } from '../support/until.ts'

const TIMES = { readTimeoutMs: 2_000, swapTimeoutMs: 2_000 }

test('register in a cluster: one order explains what six writers saw while the leader was killed', async (t) => {
  const servers = await startNatsCluster(3)
  t.teardown(() => Promise.all(servers.map(({ stop }) => stop())))
  const urls = servers.map(({ url }) => url)
  const log = notedLog()

  const connect = async (first: number): Promise<Transport> => {
    const outcome = await tryConnect([...urls.slice(first), ...urls.slice(0, first)], {
      connectTimeoutMs: 20_000,
    })
    if (!outcome.ok) throw new Error(outcome.failure.message)
    t.teardown(() => close(outcome.value))
    return outcome.value
  }
  const open = async (transport: Transport): Promise<Register> => {
    let register: Register | undefined
    await until('the stream has a leader', async () => {
      const opened = await tryOpenJetStream(transport, TIMES, 3, log)
      if (!opened.ok || !(await read(opened.value, 'a')).ok) return false
      register = opened.value
      return true
    })
    return register!
  }
  const transports = await Promise.all([0, 1, 2, 0, 1, 2].map(connect))
  const writers = await Promise.all(transports.map(open))

  const { server } = transports[0]!
  t.true(server!.isClustered)
  const advice = registerAdvice({ ...server!, replicas: 3, form: 'stream' })
  t.is(log.lines.length > 0, advice !== 'fine')

  const history = new SwapHistory()
  let isOver = false
  const writing = writers.map(async (register, i) => {
    let expected = 0
    for (let step = 0; !isOver; step++) {
      const outcome = await history.swap(register, String(i), 'a', expected, `${i}/${step}`)
      if (outcome.result === 'ok') expected = outcome.revision
      else if (outcome.result === 'conflict') expected = outcome.held?.revision ?? 0
      else await new Promise((resolve) => setTimeout(resolve, 50))
    }
  })
  const wins = () => history.events.filter(({ outcome }) => outcome.result === 'ok').length
  await until('they write', () => wins() > 30)
  const told = await ask(transports[0]!, jetStreamSubjects.streamInfo(subjects.register.stream('a')))
  const { config, cluster } = JSON.parse(told)
  t.is(config.num_replicas, 3)
  await servers[Number(cluster.leader.slice(1))]!.kill()
  const before = wins()
  await until('the other two go on', () => wins() > before + 30)
  isOver = true
  await Promise.all(writing)

  t.is(faultIn(history.events), null)
  const newest = Math.max(
    ...history.events.map(({ outcome }) => (outcome.result === 'ok' ? outcome.revision : 0)),
  )
  let last = 0
  await until('it can be read', async () => {
    const outcome = await read(writers[1]!, 'a')
    last = outcome.ok ? (outcome.value?.revision ?? 0) : 0
    return outcome.ok
  })
  t.true(last >= newest)
})
