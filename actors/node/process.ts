/** What every actor of one process shares: its world, its cluster's subjects and the list of its actors. */
import type { Subjects } from '../../transport/subjects.ts'
import type { ProcessDirectory } from './inspection.ts'
import type { World } from './world.ts'

export type Process = {
  /** Names this process in addresses and in membership; unique. */
  readonly id: string
  readonly world: World
  readonly subjects: Subjects
  readonly directory: ProcessDirectory
}
