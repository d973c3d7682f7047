/**
 * A file system that takes writes and then cannot keep them: ext4 in a sparse file on a disk that is smaller. The kernel says so once, when
 * asked to sync, and has forgotten the bytes by the next time. (Its twin in memory: E02 in test/log/faults.test.ts.)
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { DataDir } from '../../log/data-dir.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { nodeFiles } from '../../runtime/node-files.ts'
import { batchOf, configOf, contentOf, createWorld, openOrders, type TestWorld } from '../log/support.ts'

const DISK_BYTES = 6 * 1024 * 1024
const VALUE_BYTES = 100_000

let place: string | undefined

afterEach(() => {
  if (place === undefined) return
  // A test that failed may have files open there.
  for (const mounted of ['files', 'disk']) run('umount', '--lazy', join(place, mounted))
  rmSync(place, { recursive: true })
  place = undefined
})

/** Whether it could. */
function run(command: string, ...args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Where the files are; undefined where this process may not mount anything. */
function mountLyingDisk(): string | undefined {
  place = mkdtempSync(join(tmpdir(), 'tidemark-failed-sync-'))
  const disk = join(place, 'disk')
  mkdirSync(disk)
  mkdirSync(join(place, 'files'))
  const isThere =
    run('mount', '-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', disk) &&
    run('truncate', '-s', '64M', join(disk, 'image')) &&
    run('mkfs.ext4', '-q', '-F', '-O', '^has_journal', join(disk, 'image')) &&
    mountFiles(place)
  return isThere ? join(place, 'files') : undefined
}

function mountFiles(at: string): boolean {
  return run('mount', '-o', 'loop', join(at, 'disk/image'), join(at, 'files'))
}

/** What the kernel had in memory only is gone; what it wrote is there. */
function forgetMemory(at: string): void {
  expect(run('umount', join(at, 'files'))).toBe(true)
  expect(mountFiles(at)).toBe(true)
}

function open(path: string): Promise<DataDir> {
  const { runtime }: TestWorld = createWorld()
  return DataDir.open(path, { runtime: { ...runtime, files: nodeFiles }, tailCacheBytes: 0, openFilesMax: 16, diskMinFreeBytes: 0 })
}

const config = configOf({ segmentBytes: 1024 * 1024 })

const valueOf = (offset: number): string => `${offset}:`.padEnd(VALUE_BYTES, 'x')

/** How many records were acknowledged before something failed. */
async function fill(log: PartitionLog): Promise<{ acknowledged: number; error: unknown }> {
  for (let offset = 0; ; offset++) {
    try {
      log.append(batchOf([valueOf(offset)]), { leaderEpoch: 0 })
      await log.flush()
    } catch (error) {
      return { acknowledged: offset, error }
    }
  }
}

it('E02 a sync that failed is the end of the directory, and what a restart finds and calls durable is on the disk', async (context) => {
  const path = mountLyingDisk()
  if (path === undefined || place === undefined) return context.skip('needs the right to mount file systems, and mkfs.ext4')
  const data = join(path, 'data')
  const dir = await open(data)
  const log = await openOrders(dir, config)
  const { acknowledged, error } = await fill(log)
  expect(acknowledged).toBeGreaterThan(10)
  expect(acknowledged * VALUE_BYTES).toBeLessThan(DISK_BYTES)
  expect(error).toMatchObject({ code: 'STORAGE_FAILED' })
  expect(dir.failure).toMatchObject({ code: 'STORAGE_FAILED' })
  expect(() => log.append(batchOf(['refused']), { leaderEpoch: 0 })).toThrow(expect.objectContaining({ code: 'STORAGE_FAILED' }))
  await dir.close()

  // The disk has room again; the kernel still shows what it failed to write, and takes it for written.
  expect(run('mount', '-o', 'remount,size=100M', join(place, 'disk'))).toBe(true)
  const again = await open(data)
  expect(again.owner.wasCleanShutdown).toBe(false)
  const found = await openOrders(again, config)
  const claimed = await contentOf(found, 0, found.flushedOffset)
  expect(claimed.length).toBeGreaterThanOrEqual(acknowledged)
  for (const [offset, value] of claimed) expect(value === valueOf(offset), `offset ${offset}`).toBe(true)

  // What was never written to the disk again goes with the kernel's memory.
  await again.close()
  forgetMemory(place)
  const last = await open(data)
  const kept = await contentOf(await openOrders(last, config))
  expect(kept.length).toBe(claimed.length)
  for (const [offset, value] of kept) expect(value === valueOf(offset), `offset ${offset}`).toBe(true)
  await last.close()
})
