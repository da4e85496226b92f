/**
 * Where things are in a store's folder. The first position of a segment is its name, so that names sort as positions.
 */
const digits = (position: number): string => String(position).padStart(20, '0')

export const identityPath = (folder: string): string => `${folder}/statemq.json`
export const checkpointPath = (folder: string): string => `${folder}/checkpoint`
export const cutPath = (folder: string): string => `${folder}/cut.json`
export const logFolder = (folder: string): string => `${folder}/log`
export const segmentPath = (folder: string, start: number): string => `${folder}/log/${digits(start)}.log`
export const indexFolder = (folder: string): string => `${folder}/consume-queue`
export const indexPath = (folder: string, start: number): string =>
  `${folder}/consume-queue/${digits(start)}.index`

/** The start position that a file name tells, or null when it is no name of that kind. */
export function startOf(name: string, extension: 'log' | 'index'): number | null {
  const found = /^(\d{20})\.(log|index)$/.exec(name)
  return found !== null && found[2] === extension ? Number(found[1]) : null
}
