/** A node that is told to stop before it has found its cluster. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { freePort } from '../../scripts/node-process.ts'
import { finished, startCli, untilPrinted } from './support.ts'

let directory: string

beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), 'tidemark-stop-'))))
afterEach(() => rmSync(directory, { recursive: true, force: true }))

it.each(['SIGTERM', 'SIGINT'] as const)('a voter that waits for the others stops at %s, in order and with 0', async (signal) => {
  const ports = await Promise.all([freePort(), freePort(), freePort()])
  const voters = ports.map((port, at) => `${at + 1}@127.0.0.1:${port}`).join(',')
  const address = `127.0.0.1:${ports[0]}`
  const args = ['serve', '--node-id', '1', '--listen', address, '--data-dir', directory, '--set', `voters=${voters}`]
  const node = startCli(args)
  const ended = finished(node)
  while (!(await answers(`http://${address}/livez`))) await new Promise((resolve) => setImmediate(resolve))
  node.kill(signal)
  expect(await ended).toMatchObject({ code: 0, stdout: '', stderr: expect.not.stringMatching(/error|timed-out/) })
})

it('a node that finds nobody to join stops at SIGTERM, in order and with 0', async () => {
  const nobody = `127.0.0.1:${await freePort()}`
  const node = startCli(['serve', '--node-id', '2', '--listen', '127.0.0.1:0', '--data-dir', directory, '--set', `join=${nobody}`])
  const ended = finished(node)
  await untilPrinted(node, /cluster\.unreached/)
  node.kill('SIGTERM')
  expect(await ended).toMatchObject({ code: 0, stderr: expect.not.stringMatching(/\[[A-Z_]+\]/) })
})

function answers(url: string): Promise<boolean> {
  return fetch(url).then(
    ({ ok }) => ok,
    () => false,
  )
}
