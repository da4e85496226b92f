import test from 'ava'
import fc from 'fast-check'
import { type AllocationSettings, allocationFault, allocations } from '../../machines/allocation/index.ts'

const fine: [allocation: string, settings: AllocationSettings][] = [
  ['averagely', {}],
  ['averagely', { room: '' }],
  ['sticky', { room: 'room-1' }],
  ['by-config', { queues: ['orders/broker-a/0', '%RETRY%g/room-1@broker-a/12'] }],
  ['by-machine-room', { consumerRooms: ['room-1', 'room-2'] }],
  ['machine-room-nearby', { room: 'room-1' }],
]
for (const [allocation, settings] of fine) {
  test(`allocation settings: ${allocation} goes by ${JSON.stringify(settings)}`, (t) => {
    t.is(allocationFault(allocation, settings), null)
  })
}

const faulty: [allocation: string, settings: object, says: RegExp][] = [
  ['machine-room-nearby', {}, /give room/],
  ['machine-room-nearby', { room: '' }, /give room/],
  ['averagely', { room: 'a@b' }, /characters out of/],
  ['averagely', { room: 7 }, /give the name of a machine room/],
  ['averagely', { queues: [] }, /only allocation 'by-config' looks at it, not 'averagely'/],
  ['by-config', { queues: ['t/b/0'], consumerRooms: ['r'] }, /only allocation 'by-machine-room'/],
  ['by-config', {}, /needs queues: give/],
  ['by-config', { queues: [] }, /needs queues: give/],
  ['by-config', { queues: 't/b/0' }, /needs queues: give/],
  ['by-config', { queues: [7] }, /needs queues: give/],
  ['by-config', { queues: ['orders'] }, /'orders' names no queue: give topic\/broker\/number/],
  ['by-config', { queues: ['t/b/0', 't/b/-1'] }, /names no queue/],
  ['by-config', { queues: ['t/b/01'] }, /names no queue/],
  ['by-config', { queues: ['t/b/0/0'] }, /names no queue/],
  ['by-config', { queues: ['t t/b/0'] }, /queues: topic 't t' is illegal/],
  ['by-config', { queues: ['t//0'] }, /queues: the broker name is blank/],
  ['by-config', { queues: Array(4_097).fill('t/b/0') }, /4097 entries: give at most 4096/],
  ['by-machine-room', {}, /needs consumerRooms: give/],
  ['by-machine-room', { consumerRooms: [''] }, /consumerRooms: the machine room is blank/],
  ['by-machine-room', { consumerRooms: ['r@b'] }, /consumerRooms: machine room 'r@b' is illegal/],
  ['by-machine-room', { consumerRooms: Array(257).fill('r') }, /257 entries: give at most 256/],
]
for (const [allocation, settings, says] of faulty) {
  test(`allocation settings: ${allocation} refuses ${JSON.stringify(settings).slice(0, 60)}`, (t) => {
    const fault = allocationFault(allocation, settings)
    t.is(fault?.code, 'INVALID_PARAMETER')
    t.regex(fault!.message, says)
  })
}

test('allocation settings: whatever is given for them is fine or told to be wrong in a sentence', (t) => {
  const anySettings = fc.record(
    { room: fc.anything(), queues: fc.anything(), consumerRooms: fc.anything() },
    { requiredKeys: [] },
  )
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(allocations)), anySettings, (allocation, settings) => {
      const fault = allocationFault(allocation, settings as object)
      t.true(fault === null || fault.message.length > 20)
    }),
  )
})
