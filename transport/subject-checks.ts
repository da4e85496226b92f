/**
 * What every home of the transport refuses of its caller: subjects that are none, and calls AFTER the close. Both are bugs,
 * so they are thrown, in the same words everywhere, BEFORE anything is sent or heard.
 */
import { isPattern, isSubject } from './subject-trie.ts'

/** Throws an Error when the transport was closed, a TypeError when a subject is malformed. `reply` is '' for none. */
export function checkPublish(isClosed: boolean, subject: string, reply: string): void {
  if (isClosed) throw new Error(`publish on '${subject}' AFTER the transport was closed`)
  if (!isSubject(subject))
    throw new TypeError(`'${subject}' is no subject: tokens without blanks, joined by dots`)
  if (reply !== '' && !isSubject(reply)) throw new TypeError(`'${reply}' is no subject for a reply`)
}

/** Throws likewise. `queue` is '' for who hears everything. */
export function checkSubscribe(isClosed: boolean, pattern: string, queue: string): void {
  if (isClosed) throw new Error(`subscribe to '${pattern}' AFTER the transport was closed`)
  if (!isPattern(pattern)) throw new TypeError(`'${pattern}' is no subject to subscribe to`)
  if (queue !== '' && !/^\S+$/.test(queue)) throw new TypeError(`'${queue}' is no name of a queue group`)
}
