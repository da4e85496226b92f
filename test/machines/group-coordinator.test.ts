import test from 'ava'
import { groupCoordinatorMachine } from '../../machines/group-coordinator.ts'
import { stepper } from '../support/stepper.ts'

const member = (clientId: string, instance = `${clientId}-1`) => ({ clientId, instance, topics: ['orders'] })

function started() {
  const coordinator = stepper(groupCoordinatorMachine, { group: 'billing' })
  return {
    ...coordinator,
    join: (clientId: string, generation = 0, instance?: string) =>
      coordinator.send({ type: 'member.joined', ...member(clientId, instance), generation }),
    beat: (clientId: string, generation: number, instance = `${clientId}-1`) =>
      coordinator.send({ type: 'member.beat', clientId, instance, generation }),
    leave: (clientId: string, instance = `${clientId}-1`) =>
      coordinator.send({ type: 'member.left', clientId, instance }),
    types: () => coordinator.take().map(({ type }) => type),
    get generation() {
      return coordinator.context.generation
    },
    get members() {
      return Object.keys(coordinator.context.members)
    },
    get state() {
      return coordinator.state
    },
    get timers() {
      return coordinator.timers
    },
  }
}

test('group: the first member is welcomed at once', (t) => {
  const group = started()
  group.join('c1')
  t.is(group.state, 'active')
  t.deepEqual(group.take(), [
    {
      type: 'welcomeMember',
      params: { clientId: 'c1', instance: 'c1-1', generation: 1, members: [member('c1')] },
    },
  ])
})

test('group: every change of the members is a new generation, told to all', (t) => {
  const group = started()
  group.join('c2')
  group.take()
  group.join('c1')
  t.deepEqual(group.take().at(-1), {
    type: 'pushMembers',
    params: { generation: 2, members: [member('c1'), member('c2')] },
  })
  group.leave('c2')
  t.deepEqual(group.take(), [{ type: 'pushMembers', params: { generation: 3, members: [member('c1')] } }])
})

test('group: other topics of a member are a new generation', (t) => {
  const group = started()
  group.join('c1')
  group.send({ type: 'member.joined', ...member('c1'), topics: ['orders', 'bills'], generation: 1 })
  t.is(group.generation, 2)
})

test('group: a join that is repeated is answered and changes nothing', (t) => {
  const group = started()
  group.join('c1')
  group.take()
  group.join('c1', 1)
  t.deepEqual(group.types(), ['welcomeMember'])
  t.is(group.generation, 1)
})

test('group: a second consumer with a client id in use is refused', (t) => {
  const group = started()
  group.join('c1')
  group.take()
  group.join('c1', 0, 'other')
  t.like(group.take(), [
    { type: 'refuseMember', params: { clientId: 'c1', instance: 'other', code: 'NO_PERMISSION' } },
  ])
  t.is(group.generation, 1)
})

test('group: a member that falls silent is gone', (t) => {
  const group = started()
  group.join('c1')
  group.join('c2')
  group.take()
  group.expire('session/c1')
  t.deepEqual(group.members, ['c2'])
  t.deepEqual(group.types(), ['pushMembers'])
})

test('group: a beat keeps a member and says nothing', (t) => {
  const group = started()
  group.join('c1')
  group.take()
  group.beat('c1', 1)
  t.deepEqual(group.take(), [])
  t.deepEqual(group.timers, ['session/c1'])
})

test('group: the list is pushed again to a member that shows it missed one', (t) => {
  const group = started()
  group.join('c1')
  group.join('c2')
  group.take()
  group.beat('c1', 1)
  t.deepEqual(group.types(), ['pushMembers'])
})

test('group: a member that was told a later list by another coordinator is to join again, and says so', (t) => {
  const group = started()
  group.join('c1')
  group.take()
  group.beat('c1', 7)
  t.deepEqual(group.types(), ['rejectBeat'])
  group.join('c1', 7)
  t.is(group.state, 'gathering')
  t.true(group.generation > 7)
})

test('group: the beat of a stranger is rejected', (t) => {
  const group = started()
  group.beat('c1', 1)
  t.deepEqual(group.types(), ['rejectBeat'])
  group.join('c1')
  group.take()
  group.beat('c1', 1, 'other')
  t.deepEqual(group.types(), ['rejectBeat'])
})

test('group: the farewell of an earlier instance does not remove the member', (t) => {
  const group = started()
  group.join('c1')
  group.join('c2')
  group.leave('c1', 'other')
  t.deepEqual(group.members, ['c1', 'c2'])
})

test('group: is empty when the last one left or expired, and keeps its generation', (t) => {
  for (const end of ['left', 'expired']) {
    const group = started()
    group.join('c1')
    if (end === 'left') group.leave('c1')
    else group.expire('session/c1')
    t.is(group.state, 'empty')
    t.is(group.generation, 2)
    t.deepEqual(group.timers, [])
  }
})

test('group: a new coordinator leaps over all that its predecessor may have said', (t) => {
  const group = started()
  group.join('c1', 7)
  t.is(group.generation, 1_007)
  group.join('c2', 12)
  t.is(group.generation, 1_008)
})

test('group: a new coordinator tells nobody a list until all had time to join again', (t) => {
  const group = started()
  group.join('c1', 7)
  group.join('c2', 7)
  t.is(group.state, 'gathering')
  t.deepEqual(group.take(), [])
  group.expire('gatherWindow')
  t.is(group.state, 'active')
  t.deepEqual(group.take(), [
    { type: 'pushMembers', params: { generation: 1_008, members: [member('c1'), member('c2')] } },
  ])
})

test('group: a coordinator that learns late of a predecessor gathers, and keeps its members meanwhile', (t) => {
  const group = started()
  group.join('new')
  group.take()
  group.join('old', 1)
  t.is(group.state, 'active')
  group.leave('old')
  group.take()
  group.join('old', 7)
  t.is(group.state, 'gathering')
  group.beat('new', 1)
  t.deepEqual(group.take(), [])
  group.expire('gatherWindow')
  t.deepEqual(group.take(), [
    { type: 'pushMembers', params: { generation: 1_007, members: [member('new'), member('old')] } },
  ])
})
