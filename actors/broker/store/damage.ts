/** How the store says that bytes are not what was written: always with the file and the place in it. */
import { fail } from '../../../transport/failures.ts'

const reasons: Readonly<Record<string, string>> = {
  short: 'the file ends inside a frame',
  magic: 'no frame begins here',
  version: 'the frame is of a version that this StateMQ does not read',
  length: 'the frame has an impossible length',
  headCrc: 'the head does not match its checksum',
  bodyCrc: 'the body does not match its checksum',
}

export const reasonOf = (fault: string): string => reasons[fault] ?? fault

export const damaged = (path: string, position: number, fault: string) =>
  fail('malformed', `${path} is damaged at byte ${position}: ${reasonOf(fault)}`)
