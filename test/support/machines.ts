/** Every machine there is, by the name of its file: a machine that is added is tested, charted and tidied at once. */
import { readdirSync } from 'node:fs'
import type { AnyStateMachine, AnyStateNode } from 'xstate'

const folder = new URL('../../machines/', import.meta.url)

export const machines: ReadonlyMap<string, AnyStateMachine> = await load()

async function load(): Promise<Map<string, AnyStateMachine>> {
  const found = new Map<string, AnyStateMachine>()
  for (const file of readdirSync(folder).sort()) {
    if (!file.endsWith('.js')) continue
    const exported: Record<string, unknown> = await import(new URL(file, folder).href)
    for (const [name, value] of Object.entries(exported)) {
      if (name.endsWith('Machine')) found.set(file.replace('.js', ''), value as AnyStateMachine)
    }
  }
  return found
}

export const allNodes = (node: AnyStateNode): AnyStateNode[] => [
  node,
  ...Object.values(node.states).flatMap(allNodes),
]

/** The states a machine can be in, the innermost ones, in the order in which they are written. */
export function leavesOf(node: AnyStateNode): AnyStateNode[] {
  const children = Object.values(node.states)
  return children.length === 0 ? [node] : children.flatMap(leavesOf)
}

export const pathOf = (node: AnyStateNode): string => node.path.join('.')

/** 'after' of a named delay, or the event as it is written. */
export const labelOf = (descriptor: string): string =>
  descriptor.startsWith('xstate.after.') ? `after ${descriptor.split('.')[2]}` : descriptor

export type Way = {
  label: string
  /** Its name; null when it has none. */
  guard: string | null
  isConditional: boolean
  source: AnyStateNode
  /** null: handled where it is. */
  target: AnyStateNode | null
  /** Written down as `{}`: a rule of an outer state does not hold here. */
  isForbidden: boolean
}

/** All ways out of one state that are written at that state. */
export function waysOf(node: AnyStateNode): Way[] {
  const written = [...node.transitions.values()].flat()
  return [...written, ...(node.always ?? [])].map((transition) => ({
    label: labelOf(transition.eventType),
    guard: nameOf(transition.guard),
    isConditional: transition.guard !== undefined,
    source: node,
    target: transition.target?.[0] ?? null,
    isForbidden: !transition.target && transition.actions.length === 0,
  }))
}

const nameOf = (guard: unknown): string | null => {
  if (typeof guard === 'string') return guard
  if (typeof guard === 'object' && guard !== null && 'type' in guard) return String(guard.type)
  return null
}

/** The ways that an event may take from a state, as XState looks for them: from the inside out. */
export function waysFrom(leaf: AnyStateNode, label: string): Way[] {
  if (leaf.type === 'final') return [] // It hears nothing any more.
  const ways: Way[] = []
  for (let node: AnyStateNode | undefined = leaf; node; node = node.parent) {
    const here = waysOf(node).filter((way) => way.label === label)
    if (here.some(({ isForbidden }) => isForbidden)) break
    ways.push(...here)
    if (here.some(({ isConditional }) => !isConditional)) break
  }
  return ways
}
