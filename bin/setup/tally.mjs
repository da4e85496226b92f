/**
 * Tally: how many tests passed, failed and were skipped, from what AVA prints by its default reporter or with --tap.
 *
 * NEVER green when AVA was not: a crash before its summary, or a run without a test, counts as a failure.
 */
export class Tally {
  rest = ''
  seen = { passed: 0, failed: 0, skipped: 0 }
  stated = {}

  read(chunk) {
    const lines = `${this.rest}${chunk}`.split('\n')
    this.rest = lines.pop()
    for (const line of lines) this.line(line)
  }

  line(raw) {
    const line = raw.replace(/\u001b\[[0-9;]*m/g, '').trimEnd()
    if (/^\s*[✔√] /.test(line) || /^ok \d+ (?!.*# (SKIP|TODO))/.test(line)) this.seen.passed++
    else if (/^\s*[✘×✖] /.test(line) || /^not ok \d+ (?!.*# TODO)/.test(line)) this.seen.failed++
    else if (/^ok \d+ .*# SKIP/.test(line)) this.seen.skipped++

    const words = /^\s*(\d+) (.+?)( \[[\d:]+\])?$/.exec(line)
    if (words !== null) this.state(words[2], Number(words[1]))
    const tap = /^# (pass|fail|skip) (\d+)$/.exec(line)
    if (tap !== null)
      this.stated[{ pass: 'passed', fail: 'failed', skip: 'skipped' }[tap[1]]] = Number(tap[2])
  }

  state(words, count) {
    if (/^tests? passed$/.test(words)) this.stated.passed = count
    else if (/^tests? skipped$/.test(words)) this.stated.skipped = count
    else if (
      /^(tests?|hooks?) failed$/.test(words) ||
      /^(uncaught|unhandled) /.test(words) ||
      / remained pending /.test(words)
    ) {
      this.stated.failed = (this.stated.failed ?? 0) + count
    }
  }

  result(code) {
    if (this.rest !== '') this.line(this.rest)
    const passed = this.stated.passed ?? this.seen.passed
    let failed = Math.max(this.stated.failed ?? 0, code === 0 ? 0 : this.seen.failed)
    if (code !== 0 && failed === 0) failed = 1 // A crash, or no test at all: never a green count.
    if (code === 0 && passed === 0) return { passed, failed: Math.max(failed, 1), skipped: 0, code: 1 }
    return {
      passed,
      failed,
      skipped: this.stated.skipped ?? this.seen.skipped,
      code: failed > 0 ? code || 1 : 0,
    }
  }
}
