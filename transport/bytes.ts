/** Whose memory bytes live in: the little that all homes of the transport share about it. */

export const NO_BYTES: Buffer = Buffer.alloc(0)

export const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/**
 * Bytes that nobody else holds, in a form that may be kept: as they are when they fill most of the memory under them,
 * or when that is small; else a copy. Who keeps a small message would otherwise keep alive the whole 64 KiB that the
 * socket read with it.
 */
export const keepable = (bytes: Uint8Array): Buffer => {
  const under = bytes.buffer.byteLength
  return bytes.byteLength * 2 >= under || under <= Buffer.poolSize ? asBuffer(bytes) : Buffer.from(bytes)
}
