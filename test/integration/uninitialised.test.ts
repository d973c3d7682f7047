/**
 * S25: nothing that memory held before gets to disk or on the wire. Memory that is given out unfilled is filled here, with something that would be
 * noticed: once with one byte and once with another, after which files that differ tell of a byte nobody wrote; or with a mark to look for.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { openLevelRaftStore } from '../../controller/level-raft-store.ts'
import { defaultNodeConfig } from '../../broker/config.ts'
import { type RunningNode, startNode } from '../../broker/server.ts'
import { connect, type Tidemark } from '../../client/index.ts'
import { COMPRESSIONS } from '../../protocol/compression.ts'
import { nodeRuntime } from '../../runtime/node.ts'
import { nodeFiles } from '../../runtime/node-files.ts'
import { streamOf } from '../../scripts/random.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { LogAtWork } from '../crash/log-at-work.ts'
import { QuorumAtWork } from '../crash/quorum-at-work.ts'
import { batchesOf, compact, compactedConfig, keyedBatch, roll } from '../log/compaction-support.ts'
import { createWorld, openDir, openOrders } from '../log/support.ts'
import { TcpProxy } from './tcp-proxy.ts'

const SEEDS = Array.from({ length: 12 }, (_, at) => at + 1)

/** So many of the mark in a row are no coincidence. */
const MARK = Buffer.alloc(5, 0xa5)

/** From here on memory that should be written before it is read is full of `byte`. */
function fillUnwritten(byte: number): void {
  for (const name of ['allocUnsafe', 'allocUnsafeSlow'] as const)
    vi.spyOn(Buffer, name).mockImplementation((size) => Buffer.alloc(size, byte))
}

/** What `work` makes of memory full of one byte, and of another. */
async function ofBoth<T>(work: () => Promise<T>): Promise<[T, T]> {
  const both: T[] = []
  for (const byte of [0xa5, 0x5a]) {
    fillUnwritten(byte)
    both.push(await work())
    vi.restoreAllMocks()
  }
  return both as [T, T]
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('S25 memory that was never written stays off the disk:', () => {
  it.each(SEEDS)(
    'a log at work, with its indexes, snapshots, checkpoints, what is compacted and what is recovered, as seed %i has it',
    async (seed) => {
      const [one, other] = await ofBoth(async () => {
        const moments: string[] = []
        await new LogAtWork(seed, (files) => void moments.push(files.digest())).work(60)
        return moments
      })
      expect(one.length).toBeGreaterThan(100)
      expect(other).toEqual(one)
    },
  )

  it.each(COMPRESSIONS)('batches that are %s, read from the disk and compacted', async (compression) => {
    const [one, other] = await ofBoth(async () => {
      const world = createWorld()
      const log = await openOrders(await openDir(world), compactedConfig())
      for (let n = 0; n < 40; n++) {
        log.append(
          await keyedBatch(
            [
              [`k${n % 7}`, 'v'.repeat(n * 5)],
              [`once ${n}`, null],
            ],
            { compression },
          ),
          { leaderEpoch: 0 },
        )
        await log.flush()
      }
      const before = await batchesOf(log)
      await roll(log, world)
      const { removedCount } = await compact(log, world)
      return { removedCount, before, after: await batchesOf(log), files: world.files.digest() }
    })
    expect(one.removedCount).toBeGreaterThan(10)
    expect(other).toEqual(one)
  })

  it('would be noticed, a single byte of it', async () => {
    const [one, other] = await ofBoth(async () => {
      const files = new MemoryFiles()
      const handle = await files.open('/file', 'create')
      const piece = Buffer.allocUnsafe(4)
      piece.fill(1, 0, 3)
      await handle.write([piece], 0)
      return files.digest()
    })
    expect(other).not.toBe(one)
  })
})

describe('S25 on a real disk and a real connection:', () => {
  let directory: string

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tidemark-unwritten-'))
  })

  afterEach(() => rm(directory, { recursive: true }))

  async function markedFiles(): Promise<string[]> {
    const files = (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
    expect(files.length).toBeGreaterThan(3)
    const contents = await Promise.all(files.map(async (file) => [file.name, await readFile(join(file.parentPath, file.name))] as const))
    return contents.filter(([, content]) => content.includes(MARK)).map(([name]) => name)
  }

  /** A node, and a client whose every byte from and to it is heard. Without a cache what is read comes from the disk. */
  async function overWire(): Promise<{ tm: Tidemark; wire: TcpProxy; node: RunningNode; heard: readonly Buffer[] }> {
    const heard: Buffer[] = []
    const wire = await TcpProxy.start(0, (chunk) => void heard.push(chunk))
    const config = defaultNodeConfig({
      listen: { host: '127.0.0.1', port: 0 },
      advertise: [{ host: '127.0.0.1', port: wire.port }],
      dataDir: directory,
      limits: { tailCacheBytes: 0 },
    })
    const node = await startNode(config, nodeRuntime())
    wire.targetPort = node.port
    return { tm: await connect(wire.address), wire, node, heard }
  }

  it('the store of the quorum and its snapshots', async () => {
    fillUnwritten(MARK[0] as number)
    const store = await openLevelRaftStore(directory, nodeFiles)
    await store.load()
    const work = new QuorumAtWork(streamOf(3, 'quorum'))
    for (let n = 0; n < 60; n++) await work.step(store)
    await store.close()
    expect(await markedFiles()).toEqual([])
  })

  it('what producers send, what consumers are answered, and all that a node keeps', async () => {
    fillUnwritten(MARK[0] as number)
    const { tm, wire, node, heard } = await overWire()
    await tm.admin.createTopic('t', { partitions: 2, configs: { 'segment.bytes': '64KiB' } })
    const sent: string[] = []
    for (const compression of COMPRESSIONS) {
      const producer = tm.producer({ compression, batchBytes: 10_000 })
      const values = Array.from({ length: 40 }, (_, n) => `${compression} ${'x'.repeat(n * 40)}`)
      await Promise.all(values.map((value, n) => producer.send('t', { key: String(n), value })))
      sent.push(...values)
    }
    const read = await Array.fromAsync(tm.consumer('t', { start: 'earliest', end: 'now' }), ({ value }) => String(value))
    expect(read.toSorted()).toEqual(sent.toSorted())
    await tm.close()
    await node.close()
    await wire.close()
    expect(Buffer.concat(heard).length).toBeGreaterThan(50_000)
    expect(Buffer.concat(heard).includes(MARK)).toBe(false)
    expect(await markedFiles()).toEqual([])
  })

  it('would be noticed, a few bytes of it', async () => {
    fillUnwritten(MARK[0] as number)
    const { tm, wire, node, heard } = await overWire()
    await tm.admin.createTopic('t')
    await tm.producer().send('t', { value: Buffer.allocUnsafe(10) })
    await tm.close()
    await node.close()
    await wire.close()
    expect(Buffer.concat(heard).includes(MARK)).toBe(true)
    expect(await markedFiles()).not.toEqual([])
  })
})
