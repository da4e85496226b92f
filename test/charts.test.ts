import { existsSync, readFileSync } from 'node:fs'
import test from 'ava'
import { ARCHITECTURE, chartOf, markersOf, withCharts } from './support/charts.ts'
import { machines } from './support/machines.ts'

const architecture = existsSync(ARCHITECTURE) ? readFileSync(ARCHITECTURE, 'utf8') : ''

for (const [name, machine] of machines) {
  test(`charts: ${ARCHITECTURE} shows ${name} as it is`, (t) => {
    const [open, close] = markersOf(name)
    t.true(
      architecture.includes(open) && architecture.includes(close),
      `write ${open} and ${close} where it belongs`,
    )
    t.true(architecture.includes(chartOf(machine)), 'the chart is stale: run `npm run charts`')
  })
}

test('charts: only what stands between markers is written', (t) => {
  const [name] = machines.keys()
  const [open, close] = markersOf(name!)
  const text = withCharts(`before\n${open}\nwas here\n${close}\nafter\n`)
  t.true(text.startsWith(`before\n${open}\n\`\`\`mermaid\nstateDiagram-v2\n`))
  t.true(text.endsWith(`\n\`\`\`\n${close}\nafter\n`))
  t.false(text.includes('was here'))
  t.is(withCharts(text), text)
  t.is(withCharts('no markers'), 'no markers')
})
