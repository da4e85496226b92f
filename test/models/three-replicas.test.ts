import { ofThree } from './configurations.ts'
import { holdsThroughout } from './throughout.ts'

for (const model of ofThree) holdsThroughout('three replicas', model)
