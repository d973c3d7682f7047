/** What the scripts share: where the project is, and how one of its tools is run. */
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Runs a tool or script of the project in its root with the output going to ours. True when it succeeded. */
export function runTool(name: string, ...args: readonly string[]): boolean {
  const done = spawnSync(process.execPath, [join(root, 'scripts/run.mjs'), name, ...args], { cwd: root, stdio: 'inherit' })
  return done.status === 0
}
