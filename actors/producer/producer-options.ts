/** What a producer may be told, and what is wrong with it. */
import { groupFault } from '../../machines/names.ts'
import { badInput } from '../errors.ts'
import { type Names, refuseUnknown } from '../options.ts'

export type ProducerOptions = {
  /** Names the producers of one application. */
  group?: string
  /** For all tries of a send together; default 3,000. */
  timeoutMs?: number
  /** Create an unknown topic on every broker that allows it; default true. */
  createTopics?: boolean
  /** Bytes of messages that are under way or gathered; default 64 MiB. */
  bufferBytes?: number
  /** Sends that wait for room in the buffer or for a route; default 65,535. */
  waitingMax?: number
}

// biome-ignore format: one name a line says no more
const names: Names<ProducerOptions> = {
  group: true, timeoutMs: true, createTopics: true, bufferBytes: true,
  waitingMax: true,
}

/** Throws INVALID_PARAMETER with the option that is wrong. */
export function checkOptions(options: ProducerOptions): void {
  const invalid = (message: string): never => {
    throw badInput(message, 'INVALID_PARAMETER')
  }
  refuseUnknown('a producer', options, names)
  const { group, timeoutMs, bufferBytes, waitingMax } = options
  if (group !== undefined && typeof group !== 'string') return invalid('the group is no string')
  const fault = group === undefined ? null : groupFault(group)
  if (fault) invalid(fault.message)
  for (const [name, value] of Object.entries({ timeoutMs, bufferBytes, waitingMax })) {
    if (value === undefined || (typeof value === 'number' && value > 0)) continue
    invalid(`${name} is ${value}: give a number above 0`)
  }
  if (timeoutMs === Number.POSITIVE_INFINITY) invalid('timeoutMs has no end: give a number of milliseconds')
}
