/** What a broker reads of a stored record without decoding it: one property, the message group, the wanted ones. */
import { crc32 } from 'node:zlib'
import { tagExpressionFault, tagsOf } from '../../../machines/filter/tag.ts'
import { javaHash, RECORD_HEAD_BYTES } from '../../../transport/frames.ts'
import { attributes } from '../../producer/message.ts'

const NAME_ENDS = 1
const VALUE_ENDS = 2

/** The value of a property of the record at `at`, `name` as ASCII; undefined without one. */
export function propertyAt(bytes: Buffer, at: number, name: Buffer): string | undefined {
  const propertyBytes = bytes.readUInt16LE(at + 12)
  if (propertyBytes === 0) return undefined
  const properties = bytes.subarray(at + RECORD_HEAD_BYTES, at + RECORD_HEAD_BYTES + propertyBytes)
  let found = properties.indexOf(name)
  while (found !== -1) {
    const after = found + name.length
    const begins = found === 0 || properties[found - 1] === VALUE_ENDS
    if (begins && properties[after] === NAME_ENDS) {
      const end = properties.indexOf(VALUE_ENDS, after)
      return properties.toString('utf8', after + 1, end === -1 ? properties.length : end)
    }
    found = properties.indexOf(name, after)
  }
  return undefined
}

const messageGroupName = Buffer.from(attributes.messageGroup)
const tagName = Buffer.from(attributes.tag)
/** Longer names are kept as a digest: two that share it wait for each other, and nothing else. */
const GROUP_CHARACTERS_MAX = 64

/** The message group of a record as pop queues know it; null without one. */
export function messageGroupAt(bytes: Buffer, at: number): string | null {
  const group = propertyAt(bytes, at, messageGroupName)
  if (group === undefined) return null
  if (group.length <= GROUP_CHARACTERS_MAX) return group
  return `${group.slice(0, GROUP_CHARACTERS_MAX - 16)}#${crc32(group).toString(16)}`
}

/** Whether a subscription asks for the record at `at`. */
export type RecordFilter = (bytes: Buffer, at: number) => boolean

const all: RecordFilter = () => true

/** The filter that an expression says, or what is wrong with it. */
export function recordFilterOf(expression: string): RecordFilter | { fault: string } {
  const fault = tagExpressionFault(expression)
  if (fault !== null) return { fault }
  const tags = tagsOf(expression)
  if (tags === null) return all
  const hashes = new Set([...tags].map(javaHash))
  return (bytes, at) => {
    if (!hashes.has(bytes.readInt32LE(at + 8))) return false
    const tag = propertyAt(bytes, at, tagName)
    return tag !== undefined && tags.has(tag)
  }
}
