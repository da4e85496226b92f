/**
 * The register that a node serves, as its clients reach it: two requests, and pushes after each swap
 * (actors/node/register-server.ts is the other side).
 *
 * Whatever is no answer to a swap is 'unknown': no answer, a broken connection, a server that could not write. That
 * nobody listened is told as 'unknown' too, with 'noResponders' as its failure.
 */
import { ask, type Refusal } from './codec.ts'
import { codeName, isRetryable } from './codes.ts'
import { fail, succeed } from './failures.ts'
import type { Clock } from './ports.ts'
import { REGISTER_TIMES, type Register, type RegisterTimes } from './register.ts'
import { parseValue, pushesOver, registerOver, unknown } from './register-client.ts'
import type { Subjects } from './subjects.ts'
import type { Transport } from './transport.ts'

export function servedRegister(
  transport: Transport,
  { register }: Subjects,
  clock: Clock,
  times: Partial<RegisterTimes> = {},
): Register {
  const { readTimeoutMs, swapTimeoutMs, pollMs } = { ...REGISTER_TIMES, ...times }
  return registerOver({
    clock,
    pollMs,
    read(key, done) {
      ask(transport, register.read, { key }, readTimeoutMs, (outcome) => {
        if (!outcome.ok) done(outcome)
        else if ('value' in outcome.value) done(succeed(outcome.value.value))
        else done(refused(outcome.value))
      })
    },
    swap(key, expected, text, done) {
      const request = { key, expected, value: parseValue(text) }
      ask(transport, register.swap, request, swapTimeoutMs, (outcome) => {
        if (!outcome.ok) done(unknown(outcome.failure))
        else if ('value' in outcome.value) done(outcome.value.value)
        else done(unknown(refused(outcome.value).failure))
      })
    },
    listen: pushesOver(transport, register),
  })
}

const refused = ({ code, message }: Refusal) => fail('ioError', message, isRetryable(codeName(code)))
