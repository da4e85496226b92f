/** Progress of long work: a bar on a terminal, nothing at all in a pipe. It is drawn at most ten times a second. */
import type { Clock } from '../../node/world.ts'
import { formatNumber } from './table.ts'
import type { Terminal } from './terminal.ts'

export interface Progress {
  set(done: number): void
  /** Wipes the bar; what comes next starts on a clean line. */
  end(): void
}

/** `total` may be unknown: then only the count is shown. */
export function progress(terminal: Terminal, clock: Clock, what: string, total?: number): Progress {
  if (!terminal.interactive) return { set() {}, end() {} }
  const began = clock.monotonic()
  let drawnAt = began
  return {
    set(done) {
      const now = clock.monotonic()
      if (now - drawnAt < 100) return
      drawnAt = now
      const rate = `${formatNumber(Math.round((done * 1000) / (now - began)))} /s`
      const share = total === undefined ? '' : `${bar(total === 0 ? 1 : done / total)} `
      const of = total === undefined ? '' : ` of ${formatNumber(total)}`
      terminal.tell(`\r\u001b[2K${share}${formatNumber(done)}${of} ${what}  ${rate}`)
    },
    end() {
      if (drawnAt !== began) terminal.tell('\r\u001b[2K')
    },
  }
}

const barColumns = 24

function bar(share: number): string {
  const full = Math.min(barColumns, Math.floor(share * barColumns))
  return `${'█'.repeat(full)}${'░'.repeat(barColumns - full)} ${String(Math.floor(share * 100)).padStart(3)} %`
}
