/**
 * The register's file: all keys with their revisions, and a checksum over them.
 *
 * `{"format":1,"checksum":…,"values":[{"key":"broker-a","held":{"revision":7,"value":…}}]}`; the checksum is the CRC-32
 * of `values` as JSON. A file whose checksum is wrong is NEVER read: a register that went back would give one epoch to
 * two masters.
 */
import { crc32 } from 'node:zlib'
import { z } from 'zod'
import { fail, type Outcome, succeed } from '../../transport/failures.ts'
import { held } from '../../transport/messages.ts'
import type { Held } from '../../transport/register.ts'

export type RegisterValues = ReadonlyMap<string, Held>

const FORMAT = 1

const registerFile = z.object({ values: z.array(z.object({ key: z.string(), held })) })

export function registerBytes(values: RegisterValues): Buffer {
  const text = JSON.stringify([...values].map(([key, held]) => ({ key, held })))
  return Buffer.from(`{"format":${FORMAT},"checksum":${crc32(text)},"values":${text}}\n`)
}

/** `bytes` is null for a register that has never been written. */
export function registerValues(path: string, bytes: Buffer | null): Outcome<RegisterValues> {
  if (bytes === null) return succeed(new Map())
  let json: { format?: unknown; checksum?: unknown; values?: unknown } | null
  try {
    json = JSON.parse(bytes.toString())
  } catch (cause) {
    return damaged(path, 'it is not JSON', cause)
  }
  const format = json?.format
  if (typeof format === 'number' && format > FORMAT)
    return fail(
      'malformed',
      `${path} has format ${format}, this StateMQ reads ${FORMAT}: start a newer StateMQ`,
    )
  if (json?.checksum !== crc32(JSON.stringify(json?.values) ?? ''))
    return damaged(path, 'its checksum is wrong')
  const parsed = registerFile.safeParse(json)
  if (!parsed.success) return damaged(path, parsed.error.issues[0]!.message, parsed.error)
  return succeed(new Map(parsed.data.values.map(({ key, held }) => [key, held])))
}

const damaged = (path: string, why: string, cause?: unknown) =>
  fail(
    'malformed',
    `${path} is damaged (${why}): put a copy of it back. Without a copy: stop all brokers of the cluster, remove the file, then start this node and ALL replicas of each broker; they agree anew when all of them are there`,
    false,
    cause,
  )
