/** What a start loads and holds: what it need not load makes every start slower, and every idle node larger. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { finished, untilPrinted } from './support.ts'

const PROGRAM = fileURLToPath(new URL('../../cli/tidemark.mjs', import.meta.url))

/** Runs in the node before it: notes what is loaded, and says when the room for young objects has become small. */
const WATCHER = `
import { registerHooks } from 'node:module'
import v8 from 'node:v8'
const loaded = []
registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context) } })
process.on('exit', () => console.error(JSON.stringify([...loaded, ...process.moduleLoadList])))
const roomFor = (name) => v8.getHeapSpaceStatistics().find((space) => space.space_name === name).space_size
let most = 0
setInterval(() => {
  const room = roomFor('new_space')
  most = Math.max(most, room)
  if (room * 4 <= most) console.error('room was given back')
}, 50).unref()
`

let directory: string
let child: ChildProcess

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-start-'))
  writeFileSync(join(directory, 'watcher.mjs'), WATCHER)
})
afterEach(() => child?.kill('SIGKILL'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function start(): ChildProcess {
  child = spawn(process.execPath, ['--import', join(directory, 'watcher.mjs'), PROGRAM, 'dev', '--temporary', '--port', '0'])
  return child
}

it('loads no command but the one that was given, no client, no log that nobody sees, no groups, and nothing of fetch', async () => {
  const node = start()
  const ended = finished(node)
  await untilPrinted(node, /Metrics/)
  node.kill('SIGTERM')
  const { code, stderr } = await ended
  expect(code).toBe(0)
  const loaded = JSON.parse(stderr.split('\n').find((line) => line.startsWith('[')) ?? '[]') as string[]
  expect(loaded.filter((name) => /\/broker\/server\.ts$|@grpc\/grpc-js\/build\/src\/server\.js$/.test(name))).toHaveLength(2)
  const needless =
    /\/cli\/(topic|produce|consume|bench|cluster)\.ts$|\/client\/|\/broker\/groups\/|\/v1\/groups\.ts$|\/node_modules\/(pino|prom-client|yaml|cli-table3)\/|deps\/undici/
  expect(loaded.filter((name) => needless.test(name))).toEqual([])
})

it('gives back the room that starting took, once nothing is going on', async () => {
  await untilPrinted(start(), /room was given back/)
})
