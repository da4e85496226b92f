/** Errors as users see them. */
import test from 'ava'
import { errorOfFailure } from '../actors/errors.ts'

const codeOf = (code: string): string =>
  errorOfFailure({ code: code as never, message: 'because', retryable: false }).code

test('errors: the code of a failure is shown in capitals', (t) => {
  t.is(codeOf('diskFull'), 'DISK_FULL')
})

test('errors: the code of an alarm is shown as it is', (t) => {
  t.is(codeOf('TRUNCATION_BELOW_CONFIRMED'), 'TRUNCATION_BELOW_CONFIRMED')
})
