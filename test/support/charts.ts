/**
 * Draws each machine from its own definition, as a Mermaid chart, into ARCHITECTURE.md.
 *
 * A chart stands between `<!-- chart:NAME -->` and `<!-- /chart:NAME -->`, NAME being the machine's file. Mermaid draws
 * no line between the insides of two boxes, so a line that crosses a border is drawn between the outermost boxes that
 * it joins. What a state handles without leaving it is not drawn: that is in the matrices.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import type { AnyStateMachine, AnyStateNode } from 'xstate'
import { allNodes, leavesOf, machines, type Way, waysFrom, waysOf } from './machines.ts'

export const ARCHITECTURE = 'ARCHITECTURE.md'

export function chartOf(machine: AnyStateMachine): string {
  const lines = linesOf(
    allNodes(machine.root).flatMap((node) => (node.parent ? waysOf(node) : fromEverywhere(node))),
  )
  return ['stateDiagram-v2', ...insideOf(machine.root, lines).map((line) => `  ${line}`)].join('\n')
}

/** The text with every chart that has a marker drawn anew. */
export function withCharts(text: string): string {
  for (const [name, machine] of machines) {
    const [open, close] = markersOf(name)
    const from = text.indexOf(open)
    const to = text.indexOf(close)
    if (from < 0 || to < from) continue
    const chart = `${open}\n\`\`\`mermaid\n${chartOf(machine)}\n\`\`\`\n`
    text = text.slice(0, from) + chart + text.slice(to)
  }
  return text
}

export const markersOf = (name: string) => [`<!-- chart:${name} -->`, `<!-- /chart:${name} -->`] as const

type Line = { box: AnyStateNode; from: AnyStateNode; to: AnyStateNode; labels: string[] }

/** One line for all ways between the same two boxes. */
function linesOf(ways: Way[]): Line[] {
  const lines = new Map<string, Line>()
  for (const { label, guard, source, target } of ways) {
    if (!target) continue
    const box = commonBox(source, target)
    const [from, to] = [childTowards(box, source), childTowards(box, target)]
    const key = `${from.id} ${to.id}`
    const line = lines.get(key) ?? { box, from, to, labels: [] }
    const text = [label, guard && `[${guard}]`].filter(Boolean).join(' ')
    if (!line.labels.includes(text)) line.labels.push(text)
    lines.set(key, line)
  }
  return [...lines.values()]
}

function insideOf(box: AnyStateNode, lines: Line[]): string[] {
  const children = Object.values(box.states)
  const regions = box.type === 'parallel' ? children.map((child) => [child]) : [children]
  return regions.flatMap((region, index) => [
    ...(index > 0 ? ['--'] : []),
    ...(box.type === 'parallel' ? [] : [`[*] --> ${idOf(box.initial.target[0]!)}`]),
    ...region.flatMap((child) => drawn(child, lines)),
    ...lines.filter((line) => line.box === box && region.includes(line.from)).map(written),
  ])
}

function drawn(node: AnyStateNode, lines: Line[]): string[] {
  const name = node.path.length > 1 ? `state "${node.key}" as ${idOf(node)}` : `state ${idOf(node)}`
  if (node.type === 'final') return [`${idOf(node)} --> [*]`]
  if (Object.keys(node.states).length === 0) return node.path.length > 1 ? [name] : []
  return [`${name} {`, ...insideOf(node, lines).map((line) => `  ${line}`), '}']
}

const written = ({ from, to, labels }: Line): string => `${idOf(from)} --> ${idOf(to)}: ${labels.join(', ')}`

const idOf = (node: AnyStateNode): string => node.path.join('_')

/** What is written outside of all states is drawn at each outermost state in which it holds. */
const fromEverywhere = (root: AnyStateNode): Way[] =>
  waysOf(root).flatMap((way) =>
    leavesOf(root)
      .filter((leaf) => waysFrom(leaf, way.label).some(({ source }) => source === root))
      .map((leaf) => ({ ...way, source: pathTo(leaf)[1]! })),
  )

const pathTo = (node: AnyStateNode): AnyStateNode[] => [...(node.parent ? pathTo(node.parent) : []), node]

/** The innermost box that has both in it, and is neither of them. */
function commonBox(a: AnyStateNode, b: AnyStateNode): AnyStateNode {
  const around = pathTo(b).slice(0, -1)
  const shared = pathTo(a)
    .slice(0, -1)
    .filter((node) => around.includes(node))
  return shared.at(-1) ?? a
}

const childTowards = (box: AnyStateNode, node: AnyStateNode): AnyStateNode =>
  pathTo(node)[pathTo(box).length] ?? node

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const before = readFileSync(ARCHITECTURE, 'utf8')
  const after = withCharts(before)
  if (after !== before) writeFileSync(ARCHITECTURE, after)
  const states = [...machines.values()].reduce((sum, machine) => sum + leavesOf(machine.root).length, 0)
  process.stdout.write(
    `${machines.size} charts, ${states} states: ${ARCHITECTURE} ${after === before ? 'was up to date' : 'rewritten'}\n`,
  )
}
