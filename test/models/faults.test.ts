import { withFaults } from './configurations.ts'
import { holdsThroughout } from './throughout.ts'

for (const model of withFaults) holdsThroughout('two replicas', model)
