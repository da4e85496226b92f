/** The clone that is set up: where its things are, and reading one that may not be there. */
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')
export const at = (...names) => path.join(root, ...names)
export const dist = at('dist')

/** Empty when there is no such file. */
export function readText(file) {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
