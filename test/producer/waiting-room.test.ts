/** WaitingRoom by itself: the test says when there is a route, when there is room, and when the turn ends. */
import test from 'ava'
import { StateMQError } from '../../actors/errors.ts'
import { type Destination, WaitingRoom } from '../../actors/producer/waiting-room.ts'
import { virtualClock } from '../support/virtual-clock.ts'

class Stage {
  readonly clock = virtualClock()
  readonly gone: string[] = []
  readonly rejected: string[] = []
  wanted = 0
  readonly room: WaitingRoom

  constructor({ bufferBytes = 10, waitingMax = 10 } = {}) {
    const wantAdmission = () => void this.wanted++
    this.room = new WaitingRoom({
      clock: this.clock,
      bufferBytes,
      waitingMax,
      timeoutMs: 1_000,
      wantAdmission,
    })
  }

  topic(hasRoute: boolean): { -readonly [Name in keyof Destination]: Destination[Name] } {
    const sender = { topic: 't', hasRoute } as Destination['sender']
    return { sender, route: { want: () => {}, trouble: 'none' } as unknown as Destination['route'] }
  }

  enter(destination: Destination, name: string, bytes = 1): void {
    this.room.enter(
      destination,
      ({ code }) => void this.rejected.push(`${name} ${code}`),
      () => {
        this.gone.push(name)
        this.room.bufferedBytes += bytes
      },
    )
  }
}

test('waiting room: who waits goes NEVER from inside the call that made room, but at the end of its turn', (t) => {
  const stage = new Stage()
  stage.room.bufferedBytes = 10
  stage.enter(stage.topic(true), 'a')
  stage.room.release(5)
  t.deepEqual([stage.gone, stage.wanted], [[], 1])
  t.false(stage.room.isFree)
  stage.room.admit()
  t.deepEqual(stage.gone, ['a'])
  t.true(stage.room.isFree)
})

test('waiting room: they go in the order in which they came, while there is room', (t) => {
  const stage = new Stage()
  stage.room.bufferedBytes = 10
  for (const name of ['a', 'b', 'c']) stage.enter(stage.topic(true), name, 5)
  stage.room.release(10)
  stage.room.admit()
  t.deepEqual(stage.gone, ['a', 'b'])
  stage.room.release(5)
  stage.room.admit()
  t.deepEqual(stage.gone, ['a', 'b', 'c'])
})

test('waiting room: whose time is over is rejected, though there is room, and ONCE', (t) => {
  const stage = new Stage()
  stage.room.bufferedBytes = 10
  stage.clock.advance(20)
  stage.enter(stage.topic(true), 'a')
  stage.clock.advance(49)
  stage.enter(stage.topic(true), 'b')
  stage.clock.advance(1_000)
  stage.room.release(10)
  stage.room.admit()
  stage.clock.advance(1_000)
  t.deepEqual(stage.rejected, ['a TIMED_OUT', 'b TIMED_OUT'])
  t.deepEqual(stage.gone, [])
})

test('waiting room: who loses its route meanwhile waits for the next one', (t) => {
  const stage = new Stage()
  const destination = stage.topic(true)
  stage.room.bufferedBytes = 10
  stage.enter(destination, 'a')
  stage.room.release(10)
  destination.sender = stage.topic(false).sender
  stage.room.admit()
  t.deepEqual(stage.gone, [])
  destination.sender = stage.topic(true).sender
  stage.room.routed(destination)
  stage.room.admit()
  t.deepEqual(stage.gone, ['a'])
})

test('waiting room: an error of one is its own', (t) => {
  const stage = new Stage()
  stage.room.bufferedBytes = 10
  const mine = new StateMQError('MESSAGE_ILLEGAL', 'mine')
  stage.room.enter(
    stage.topic(true),
    ({ message }) => void stage.rejected.push(message),
    () => {
      throw mine
    },
  )
  stage.enter(stage.topic(true), 'b')
  stage.room.release(10)
  stage.room.admit()
  t.deepEqual([stage.rejected, stage.gone], [['mine'], ['b']])
})

test('waiting room: a million may wait for a route', (t) => {
  const count = 1_000_000
  const stage = new Stage({ bufferBytes: 2 * count, waitingMax: count })
  const destination = stage.topic(false)
  for (let i = 0; i < count; i++) stage.enter(destination, 'a')
  t.throws(() => stage.enter(destination, 'b'), { code: 'TOO_MANY_REQUESTS' })
  destination.sender = stage.topic(true).sender
  stage.room.routed(destination)
  stage.room.admit()
  t.is(stage.gone.length, count)
})

test('waiting room: it is empty AFTER the last that waits is settled, and leaves no timer', (t) => {
  const stage = new Stage()
  stage.room.bufferedBytes = 10
  stage.enter(stage.topic(true), 'a')
  let isEmpty = false
  stage.room.whenEmpty(() => {
    isEmpty = true
  })
  stage.room.release(10)
  t.false(isEmpty)
  stage.room.admit()
  t.false(isEmpty)
  stage.room.release(1)
  t.true(isEmpty)
  t.is(stage.clock.timers, 0)
})
