/** What a broker reads of a stored record without decoding it: the message group, the wanted ones. */
import { crc32 } from 'node:zlib'
import { propertyAt } from '../../../transport/frames.ts'
import { attributes } from '../../producer/message.ts'
import { type Filters, isRecordWanted } from '../filters.ts'

/** Longer names are kept as a digest: two that share it wait for each other, and nothing else. */
const GROUP_CHARACTERS_MAX = 32

/** The message group of a record as pop queues know it; null without one. */
export function messageGroupAt(bytes: Buffer, at: number): string | null {
  const group = propertyAt(bytes, at, attributes.messageGroup)
  if (group === undefined) return null
  if (group.length <= GROUP_CHARACTERS_MAX) return group
  return `${group.slice(0, GROUP_CHARACTERS_MAX - 16)}#${crc32(group).toString(16)}`
}

/** Whether a subscription asks for the record at `at`. */
export type RecordFilter = (bytes: Buffer, at: number) => boolean

const all: RecordFilter = () => true

/** The filter that an expression says, or what is wrong with it. */
export function recordFilterOf(filters: Filters, text: string): RecordFilter | { fault: string } {
  const parsed = filters.of(text)
  if (!parsed.ok) return { fault: `the filter goes wrong at column ${parsed.column}: ${parsed.message}` }
  const { filter } = parsed
  return filter === null ? all : (bytes, at) => isRecordWanted(bytes, at, filter)
}
