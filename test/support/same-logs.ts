/**
 * Whether replicas hold the same log: the same segments, and in them the same bytes.
 *
 * Holds for replicas that have stored the same and are idle; they may be running or dead.
 */
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

const CHUNK_BYTES = 1024 * 1024

/** The first difference as a sentence; null when there is none. */
export async function differenceOf(folders: readonly string[]): Promise<string | null> {
  const [first, ...others] = folders
  for (const other of others) {
    const difference = await differenceOfTwo(first!, other)
    if (difference !== null) return difference
  }
  return null
}

async function differenceOfTwo(one: string, other: string): Promise<string | null> {
  const [names, otherNames] = [await segmentsOf(one), await segmentsOf(other)]
  if (names.join() !== otherNames.join())
    return `${one} has the segments ${names.join(' ')}, ${other} has ${otherNames.join(' ')}`
  for (const name of names) {
    const at = await firstDifference(join(one, 'log', name), join(other, 'log', name))
    if (at !== null) return `${one} and ${other} differ in ${name} at byte ${at}`
  }
  return null
}

const segmentsOf = async (folder: string): Promise<string[]> =>
  (await readdir(join(folder, 'log'))).filter((name) => name.endsWith('.log')).sort()

/** How long a log is on the disk. */
export async function logBytesOf(folder: string): Promise<number> {
  const sizes = (await segmentsOf(folder)).map(async (name) => (await stat(join(folder, 'log', name))).size)
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

/** Null when two files are equal. */
async function firstDifference(one: string, other: string): Promise<number | null> {
  const files = [await open(one), await open(other)] as const
  const chunks = files.map(() => Buffer.alloc(CHUNK_BYTES)) as [Buffer, Buffer]
  try {
    for (let at = 0; ; at += CHUNK_BYTES) {
      const reads = files.map((file, i) => file.read(chunks[i]!, 0, CHUNK_BYTES, at))
      const [left, right] = (await Promise.all(reads)).map(({ bytesRead }, i) =>
        chunks[i]!.subarray(0, bytesRead),
      ) as [Buffer, Buffer]
      if (!left.equals(right)) return at + left.findIndex((byte, i) => byte !== right[i])
      if (left.length === 0) return null
    }
  } finally {
    for (const file of files) await file.close()
  }
}
