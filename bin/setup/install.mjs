/** Installs the packages, when they are not those of package-lock.json, of this machine and of this Node. */
import fs from 'node:fs'
import path from 'node:path'
import { at, readText } from './clone.mjs'
import { capture } from './processes.mjs'
import { fingerprintOf, isStamped } from './stamps.mjs'
import { SetupError, step } from './words.mjs'

const stamp = at('node_modules', '.statemq-installed')

const fingerprint = () =>
  fingerprintOf([
    fs.readFileSync(at('package-lock.json')),
    // npm's own record of the tree: another install, or a prune, changes it.
    readText(at('node_modules', '.package-lock.json')),
    // Some packages hold binaries: a tree made for another machine or another major of Node is no good here.
    `node ${process.versions.node.split('.')[0]} ${process.platform} ${process.arch}`,
  ])
export const isInstalled = () => isStamped(stamp, fingerprint())

/** npm has done it by itself. */
export const noteInstalled = () => fs.writeFileSync(stamp, fingerprint())

export async function install() {
  fs.rmSync(stamp, { force: true })
  // No scripts: none of the packages needs its own, and our `prepare` would call this program inside itself.
  const args = ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=notice']
  const npm = process.env.npm_execpath ?? ''
  const isNpm = path.basename(npm) === 'npm-cli.js'
  await step('Installing packages (npm ci)', async () => {
    const { code, output } = isNpm
      ? await capture(process.execPath, [npm, ...args])
      : await capture('npm', args, { shell: process.platform === 'win32' })
    if (code !== 0) {
      throw new SetupError(
        `${output.trimEnd()}\n\nnpm could not install the packages; its own words stand above.\n` +
          (output.includes('EUSAGE')
            ? 'package.json and package-lock.json do not agree: `npm install` brings them together.'
            : 'See that `npm ping` answers and that `npm config get registry` names a registry that you can reach,\n' +
              'then run the same command again: it starts from a clean tree.'),
      )
    }
  })
  noteInstalled()
}
