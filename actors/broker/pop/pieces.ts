/** Messages inside stored frames: where they stand, and what of a frame goes into an answer. */
import type { Candidate } from '../../../machines/pop-queue.ts'
import { countAt, frameBytesAt, queueOffsetAt, recordsAt } from '../../../transport/frames.ts'
import type { Piece } from '../../../transport/pop-exchange.ts'
import type { RecordPlace } from '../retry/dead-letters.ts'
import { messageGroupAt, type RecordFilter } from './records.ts'

/** What is asked for; of what was `sentBack` a copy is tried again, so it is not. */
export type Wanted = { wants: RecordFilter; sentBack: ReadonlySet<number> | undefined }

/** The messages of frames from an offset on; where each stands is noted as it is asked for. */
export function* candidatesIn(
  frames: readonly Buffer[],
  from: number,
  { wants, sentBack }: Wanted,
  pieces: Map<number, Piece>,
): Generator<Candidate> {
  for (const frame of frames) {
    let at = recordsAt(frame, 0)
    const first = queueOffsetAt(frame, 0)
    const count = countAt(frame, 0)
    for (let index = 0; index < count; index++) {
      const to = at + frame.readUInt32LE(at)
      const offset = first + index
      if (offset >= from) {
        const isWanted = wants(frame, at) && !sentBack?.has(offset)
        if (isWanted) pieces.set(offset, { frame, index, count: 1, from: at, to })
        const messageGroup = isWanted ? messageGroupAt(frame, at) : null
        yield { offset, messageGroup, isWanted, bytes: to - at }
      }
      at = to
    }
  }
}

export function placeOf(frame: Buffer, offset: number): RecordPlace {
  const index = offset - queueOffsetAt(frame, 0)
  let at = recordsAt(frame, 0)
  for (let i = 0; i < index && at < frameBytesAt(frame, 0); i++) at += frame.readUInt32LE(at)
  return { frame, at, index }
}

export const pieceOf = ({ frame, at, index }: RecordPlace): Piece => ({
  frame,
  index,
  count: 1,
  from: at,
  to: at + frame.readUInt32LE(at),
})

/** Records that follow each other in a frame stay together. */
export function addPiece(pieces: Piece[], piece: Piece): void {
  const last = pieces.at(-1)
  if (last?.frame === piece.frame && last.to === piece.from) {
    last.to = piece.to
    last.count += piece.count
  } else pieces.push(piece)
}
