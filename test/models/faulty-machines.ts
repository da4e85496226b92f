/** Machines with ONE fault: another chart with the same words, or one guard that says something else. */
import { type AnyStateMachine, assign, createMachine } from 'xstate'
import type { Head, Vote } from '../../machines/group-state.ts'

export type Chart = Record<string, any>
const copied = (value: any): any =>
  Array.isArray(value)
    ? value.map(copied)
    : typeof value === 'object' && value !== null
      ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, copied(inner)]))
      : value

/** The machine with another chart; its words stay the same. */
export function redrawn(machine: AnyStateMachine, redraw: (chart: Chart) => void): AnyStateMachine {
  const chart = copied(machine.config)
  redraw(chart)
  return createMachine(chart, machine.implementations as never)
}
export const guarded = (machine: AnyStateMachine, guards: Record<string, unknown>): AnyStateMachine =>
  machine.provide({ guards } as never)

export const proposes = (build: (head: Head, votes: Vote[], writeId: string) => unknown) =>
  assign({
    proposal: ({ context, event }: any) =>
      build(context.head, event.votes, `controller/c@${context.head?.revision ?? 0}`),
  })
export const membershipOf = (chart: Chart) => chart.states.master.states.membership.states
