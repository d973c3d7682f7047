/** A node on a real file system that is really full. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { type Tidemark, TidemarkError } from '../../client/index.ts'
import { startTidemark, type TestTidemark } from '../../testing/index.ts'

const DISK_BYTES = 24 * 1024 * 1024
const VALUE = Buffer.alloc(100_000, 7)

let mounted: string | undefined
let node: TestTidemark | undefined

afterEach(async () => {
  await node?.close()
  if (mounted !== undefined) execFileSync('umount', [mounted])
  if (mounted !== undefined) rmSync(mounted, { recursive: true })
  node = mounted = undefined
})

/** Undefined where this process may not mount anything. */
function mountSmallDisk(): string | undefined {
  const path = mkdtempSync(join(tmpdir(), 'tidemark-full-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', path], { stdio: 'ignore' })
    mounted = path
    return path
  } catch {
    rmSync(path, { recursive: true })
    return undefined
  }
}

/** Sends until the disk is full; the offsets of what was acknowledged. */
async function fill(tm: Tidemark): Promise<bigint[]> {
  const acknowledged: bigint[] = []
  const producer = tm.producer({ deliveryTimeout: '1s' })
  for (;;) {
    try {
      acknowledged.push((await producer.send('full', { value: VALUE })).offset)
    } catch (error) {
      expect(TidemarkError.is(error) && error.code).toBe('DELIVERY_TIMED_OUT')
      expect((error as TidemarkError).cause).toMatchObject({ code: 'DISK_FULL' })
      expect((error as TidemarkError).message).toContain('DISK_FULL')
      return acknowledged
    }
  }
}

it('E01 refuses writes, says why, reads and deletes, goes on when there is room, and has lost nothing after a restart', async (context) => {
  const path = mountSmallDisk()
  if (path === undefined) return context.skip('needs the right to mount a file system')
  node = await startTidemark({ storage: { path: join(path, 'data') }, config: { limits: { diskMinFreeBytes: 1024 * 1024 } } })
  const tm = await node.connect()
  const configs = { 'segment.bytes': '1MiB', 'file.delete.delay.ms': '0ms' }
  await tm.admin.createTopic('full', { partitions: 1, configs })
  const acknowledged = await fill(tm)
  expect(acknowledged.length).toBeGreaterThan(100)

  const address = node.address
  const health = async (): Promise<unknown> => (await fetch(`http://${address}/healthz`)).json()
  expect(await health()).toMatchObject({ status: 'unhealthy', ready: true, reasons: [{ code: 'DISK_FULL' }] })
  const read = async (from: Tidemark): Promise<bigint[]> => {
    const messages = await Array.fromAsync(from.consumer('full', { start: 'earliest', end: 'now' }))
    expect(messages.every(({ raw }) => raw?.equals(VALUE))).toBe(true)
    return messages.map(({ offset }) => offset)
  }
  expect(await read(tm)).toEqual(acknowledged)

  const patient = tm.producer({ deliveryTimeout: '60s' }).send('full', { value: VALUE })
  await tm.admin.deleteRecords('full', 0, 150n)
  expect((await patient).offset).toBe(BigInt(acknowledged.length))
  expect(await health()).toMatchObject({ status: 'healthy', reasons: [] })

  await node.restart()
  const again = await node.connect()
  expect(await read(again)).toEqual([...acknowledged, BigInt(acknowledged.length)].filter((offset) => offset >= 150n))
})
