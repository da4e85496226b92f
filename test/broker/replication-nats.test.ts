/** A master and a slave on real disks, over a real nats-server. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'ava'
import { sessions } from '../../actors/broker/replication/context.ts'
import { Followers } from '../../actors/broker/replication/followers.ts'
import { Following } from '../../actors/broker/replication/following.ts'
import { openStore, type Store } from '../../actors/broker/store/store.ts'
import { realDisk } from '../../actors/node/disk.ts'
import { kinds } from '../../transport/frames.ts'
import { subjectsOf } from '../../transport/subjects.ts'
import { messages, valueIn } from '../store/support.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { clock, close, connectTo, notedLog, random } from '../support/transports.ts'
import { until } from '../support/until.ts'

const ignore = () => {}

test('replication: over a real server, with frames larger than its messages, the files are equal', async (t) => {
  const server = await startNatsServer()
  t.teardown(server.stop)
  const folder = await mkdtemp(path.join(tmpdir(), 'statemq-replication-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const log = notedLog()
  const subjects = subjectsOf('test')
  let followers: Followers | null = null
  let following: Following | null = null
  const open = async (id: number) =>
    valueIn(
      await openStore(
        { clock, random, disk: realDisk, log },
        {
          ...{ cluster: 'test', broker: `a/${id}`, replicated: true, segmentBytes: 8 * 1024 * 1024 },
          folder: path.join(folder, `${id}`),
        },
        {
          ...{ restore: ignore, replay: ignore, snapshot: () => ({}), space: ignore, broken: ignore },
          appended: () => id === 0 && followers?.appended(),
          stored: (position) => (id === 0 ? followers?.stored() : following?.stored(position)),
        },
      ),
    )
  const [master, slave] = [await open(0), await open(1)]
  const connect = async () => {
    const transport = await connectTo(server.url, log)
    t.teardown(() => close(transport))
    return transport
  }
  const shared = { clock, log, subjects, brokerName: 'a', epoch: 1 }
  const settings = { replicas: 2, replication: 'sync', flush: 'async' } as const
  const member = (brokerId: number) => ({ brokerId, lineage: 1 })
  master.epoch = 1
  master.appendControl(kinds.epoch, Buffer.from('{}'))
  let confirmed = 0
  const transport = await connect()
  followers = new Followers(
    {
      ...{ ...shared, transport, control: transport, store: master, settings },
      ...{ brokerId: 0, storeId: master.storeId, processId: 'p0' },
    },
    { members: [member(0), member(1)], minInSync: 1, markerEnd: master.endPosition, confirm: 0 },
    {
      confirmed: (position) => {
        confirmed = position
        t.true(slave.storedPosition >= position)
      },
      ...{ answerable: ignore, caughtUp: ignore, lagging: ignore, drained: ignore, alarm: ignore },
    },
  )
  followers.open()
  t.teardown(() => followers!.close())
  following = new Following(
    {
      ...{ ...shared, transport: await connect(), store: slave, settings: {} },
      ...{ brokerId: 1, storeId: slave.storeId, processId: 'p1', masterId: 0, incarnation: 1, lineage: 1 },
      nextSession: sessions(random),
      leaseEndsAt: 0,
    },
    {
      ...{ started: ignore, caughtUp: ignore, behind: ignore, silent: ignore, heard: ignore, gone: ignore },
      confirmed: (position) => {
        slave.confirmLimit = position
      },
      diverged: () => t.fail('the logs differ'),
      refused: (_, message) => t.fail(message),
      broken: ({ message }) => t.fail(message),
    },
  )
  t.teardown(() => following!.close())
  const queue = master.queue('t', 0)
  const append = (bytes: number) => {
    const frame = messages('t', 0, Buffer.alloc(bytes, 'x'))
    master.append(queue, frame, 0, frame.length, clock.now())
  }
  for (let i = 0; i < 300; i++) {
    for (let j = 0; j < 20; j++) append(i * 10)
    if (i % 60 === 30) append(3 * 1024 * 1024)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await until('everything is confirmed', () => confirmed === master.endPosition)
  await until('the slave knows it', () => slave.confirmPosition === confirmed)
  followers.close()
  following.close()
  for (const store of [master, slave])
    valueIn(
      await new Promise<Parameters<Parameters<Store['close']>[0]>[0]>((resolve) => store.close(resolve)),
    )
  const files = async (id: number) => {
    const names = (await readdir(path.join(folder, `${id}`, 'log'))).sort()
    return Promise.all(
      names.map(async (name) => [name, await readFile(path.join(folder, `${id}`, 'log', name))]),
    )
  }
  const [own, other] = [await files(0), await files(1)]
  t.true(own.length > 1)
  t.deepEqual(
    other.map(([name]) => name),
    own.map(([name]) => name),
  )
  for (const [i, [, bytes]] of own.entries()) t.true((bytes as Buffer).equals(other[i]![1] as Buffer))
})
