/** The slice of chaos that every change goes through. Longer runs: `npm run chaos`. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { NamespaceNetwork } from '../../scripts/chaos/namespaces.ts'
import { root } from '../../scripts/tools.ts'

/** Without what needs to be root, or a library; and what three nodes need longest to get over. */
const KINDS = [
  'kill,kill-controller,kill-all,pause,pause-controller,stop,isolate,split,isolate-controller,one-way,not-transitive',
  'cut-clients,blips,slow-network,reset,half-open,cut-after-bytes,reassign,damage,client-kill,client-pause',
].join()
const PACKET_KINDS = 'kill,isolate,split,one-way,not-transitive,blips,slow-network,reset,half-open,loss,duplicate,link-down'
const CROWD = ['--producers', '3', '--readers', '1', '--members', '2', '--rate', '25']

/** Plays a run, and looks at what it came to. */
async function play(faults: number, seed: number, kinds: string, ...more: readonly string[]): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-chaos-ci-'))
  const options = [
    'scripts/chaos/main.ts',
    '--faults',
    `${faults}`,
    '--seed',
    `${seed}`,
    '--kinds',
    kinds,
    ...CROWD,
    ...more,
    '--out',
    directory,
  ]
  const run = await promisify(execFile)(process.execPath, ['--disable-warning=ExperimentalWarning', ...options], { cwd: root }).catch(
    (failed: { readonly stdout: string; readonly stderr: string }) => failed,
  )
  const said = `${run.stdout}\n${run.stderr}`
  expect(said).toMatch(/^anomalies: 0$/m)
  const result = JSON.parse(readFileSync(join(directory, 'result.json'), 'utf8')) as Record<string, number>
  expect(result['faults']).toBeGreaterThanOrEqual(faults)
  expect(result['checked']).toBeGreaterThanOrEqual(result['acknowledged'] ?? Number.NaN)
  rmSync(directory, { recursive: true, force: true })
}

it('three nodes go through twenty faults without an anomaly in what clients saw (J06, J09, J13, J17, J18, J19, J21)', async () => {
  await play(20, 11, KINDS)
}, 600_000)

it('three nodes go through ten faults of a network of real packets', async (context) => {
  const probe = NamespaceNetwork.open()
  if (typeof probe === 'string') return context.skip(probe)
  await probe.close()
  await play(10, 3, PACKET_KINDS, '--network', 'namespaces')
}, 600_000)
