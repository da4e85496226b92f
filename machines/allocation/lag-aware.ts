/** LagAware: sticky, and by and by the queues in which much waits are spread. Does not look at lags yet. */
export { sticky as lagAware } from './sticky.ts'
