/**
 * Which process it was. Numbers of processes are used again, so a process is known by its number AND when it started,
 * where the system tells.
 */
import { readText } from './clone.mjs'

/** As JSON can keep it. */
export const identityOf = (pid) => ({ pid, started: startOf(pid)?.started ?? '' })

export function isAlive(pid, started = '') {
  if (!Number.isInteger(pid)) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (error.code !== 'EPERM') return false
  }
  const now = startOf(pid)
  return now === undefined || (now.state !== 'Z' && (started === '' || now.started === started))
}

function startOf(pid) {
  const stat = readText(`/proc/${pid}/stat`)
  if (stat === '') return undefined
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0], started: fields[19] }
}
