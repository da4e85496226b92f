export default {
  files: [`${process.env.STATEMQ_DIST ?? 'dist'}/test/**/*.test.js`],
  nodeArguments: ['--enable-source-maps'],
  concurrency: 2,
  timeout: '120s',
}
