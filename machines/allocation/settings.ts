/**
 * What a consumer tells of itself for the sake of allocation, and what is wrong with it: a strategy that would find
 * nothing to go by, and a setting that no strategy would look at, are told before the consumer joins its group.
 */
import { brokerNameFault, type NameFault, roomFault, topicFault } from '../names.ts'
import type { AllocationMember } from './strategy.ts'

export type AllocationSettings = Partial<Omit<AllocationMember, 'clientId'>>

/** More than any topic has queues; what a member tells travels in one message. */
const QUEUES_MAX = 4_096
const ROOMS_MAX = 256

/** Null when the settings are fine for the strategy of that name, which exists. Takes whatever a user may have given. */
export function allocationFault(allocation: string, settings: AllocationSettings): NameFault | null {
  const { room, queues, consumerRooms } = settings as Record<string, unknown>
  if (room !== undefined && room !== '') {
    const fault =
      typeof room === 'string' ? roomFault(room) : invalid('room: give the name of a machine room')
    if (fault) return fault
  } else if (allocation === 'machine-room-nearby') {
    return invalid("allocation 'machine-room-nearby' needs the machine room of the consumer: give room")
  }
  return (
    listFault(allocation, queues, {
      ...{ name: 'queues', owner: 'by-config', max: QUEUES_MAX, itemFault: queueFault },
      gives: "the queues it is to read, such as ['orders/broker-a/0']",
    }) ??
    listFault(allocation, consumerRooms, {
      ...{ name: 'consumerRooms', owner: 'by-machine-room', max: ROOMS_MAX, itemFault: roomFault },
      gives: "the machine rooms whose brokers it is to read, such as ['room-1']",
    })
  )
}

type List = {
  name: string
  /** The strategy that looks at it. */
  owner: string
  gives: string
  max: number
  itemFault: (item: string) => NameFault | null
}

function listFault(allocation: string, list: unknown, rule: List): NameFault | null {
  const { name, owner, gives, max, itemFault } = rule
  if (allocation !== owner) {
    if (list === undefined) return null
    return invalid(
      `${name}: only allocation '${owner}' looks at it, not '${allocation}'; leave one of them out`,
    )
  }
  if (!Array.isArray(list) || list.length === 0 || !list.every((item) => typeof item === 'string')) {
    return invalid(`allocation '${owner}' needs ${name}: give ${gives}`)
  }
  if (list.length > max) return invalid(`${name} has ${list.length} entries: give at most ${max}`)
  for (const item of list as string[]) {
    const fault = itemFault(item)
    if (fault) return { ...fault, message: `${name}: ${fault.message}` }
  }
  return null
}

function queueFault(key: string): NameFault | null {
  const [topic = '', brokerName = '', queueId = '', ...more] = key.split('/')
  if (!/^(0|[1-9]\d{0,8})$/.test(queueId) || more.length > 0) {
    return invalid(
      `'${key.slice(0, 400)}' names no queue: give topic/broker/number, such as 'orders/broker-a/0'`,
    )
  }
  return topicFault(topic) ?? brokerNameFault(brokerName)
}

const invalid = (message: string): NameFault => ({ code: 'INVALID_PARAMETER', message })
