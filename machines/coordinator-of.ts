/**
 * Which broker coordinates a group: the same one for all who know the same brokers, and when brokers come or go only
 * the groups of those move (rendezvous hashing).
 */
import { compareText } from './topic.ts'

/** FNV-1a, 32 bits, with a final mix: neighbouring names must not give neighbouring numbers. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  return (value ^ (value >>> 13)) >>> 0
}

/** The broker's name, or null when there is none. */
export function coordinatorOf(group: string, brokerNames: readonly string[]): string | null {
  let best: string | null = null
  let bestHash = -1
  for (const brokerName of [...brokerNames].sort(compareText)) {
    const value = hash(`${group}/${brokerName}`)
    if (value > bestHash) {
      best = brokerName
      bestHash = value
    }
  }
  return best
}
