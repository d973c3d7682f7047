/** A process that wants what another has. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { NodeProcess } from '../../scripts/node-process.ts'
import { NO_CONTEXTS, runCli } from './support.ts'

let directory: string
let first: NodeProcess

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-second-'))
  first = await NodeProcess.start(join(directory, 'first'))
})

afterEach(async () => {
  const env = { ...NO_CONTEXTS, TIDEMARK_BOOTSTRAP: first.address }
  // The first one goes on as if nothing had been.
  expect(await runCli(['cluster', 'health'], { env })).toMatchObject({ code: 0 })
})

afterAll(async () => {
  await first?.stop()
  rmSync(directory, { recursive: true, force: true })
})

it('the data directory: DATA_DIR_LOCKED, and who has it', async () => {
  const args = ['serve', '--listen', '127.0.0.1:0', '--data-dir', join(directory, 'first')]
  expect(await runCli(args, { env: NO_CONTEXTS })).toEqual({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(new RegExp(`^error: .*first is in use: .* process ${first.pid} \\[DATA_DIR_LOCKED\\]\\. .*\\n$`)),
  })
})

it('the port: ADDRESS_IN_USE, and which', async () => {
  const args = ['serve', '--listen', first.address, '--data-dir', join(directory, 'second')]
  expect(await runCli(args, { env: NO_CONTEXTS })).toEqual({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(new RegExp(`^error: ${first.address} is in use by another program \\[ADDRESS_IN_USE\\]\\. .*\\n$`)),
  })
})
