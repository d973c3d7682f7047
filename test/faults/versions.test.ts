/** This version beside one that came after it: on its data directory, and in its cluster. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openLevelRaftStore } from '../../controller/level-raft-store.ts'
import type { Entry } from '../../controller/raft/messages.ts'
import { readBatchSize } from '../../protocol/batch-header.ts'
import { nodeFiles } from '../../runtime/node-files.ts'
import type { NodeProcess } from '../../scripts/node-process.ts'
import { makeNextVersion, NEXT_LEVEL } from './next-version.ts'
import { digestsOf, healthOf, refusal, usePlace, valuesIn } from './support.ts'

const place = usePlace()

const LOG = '00000000000000000000.log'

interface Stopped {
  readonly node: NodeProcess
  readonly dataDir: string
}

/** A node that has served three records of `hurt` and three of `well`, stopped in order. `sources`: by another version. */
async function servedAndStopped(sources?: string, signal: NodeJS.Signals = 'SIGTERM'): Promise<Stopped> {
  const dataDir = join(await place.directory(), 'data')
  const node = await place.node(dataDir)
  if (sources !== undefined) node.sources = sources
  await node.start()
  const tm = await place.connect(node.address)
  for (const topic of ['hurt', 'well']) {
    await tm.admin.createTopic(topic, { partitions: 1 })
    for (const value of ['0', '1', '2']) await tm.producer().send(topic, { value })
  }
  await tm.close()
  await node.stop(signal)
  return { node, dataDir }
}

async function replaceText(path: string, from: string | RegExp, to: string): Promise<void> {
  const text = await readFile(path, 'utf8')
  expect(text).toMatch(from)
  await writeFile(path, text.replace(from, to))
}

/** Puts an entry behind the last of the node's metadata log, committed. */
async function commit(dataDir: string, data: Buffer): Promise<Entry> {
  const store = await openLevelRaftStore(join(dataDir, 'controller'), nodeFiles)
  const { hardState, entries, compacted, directories } = await store.load()
  const index = (entries.at(-1)?.index ?? compacted.index) + 1
  const entry: Entry = { index, term: hardState.term, type: 'normal', data }
  await store.save({ hardState: { ...hardState, commit: index }, entries: [entry], directories })
  await store.close()
  return entry
}

async function metadataEntries(dataDir: string): Promise<readonly Entry[]> {
  const store = await openLevelRaftStore(join(dataDir, 'controller'), nodeFiles)
  const { entries } = await store.load()
  await store.close()
  return entries
}

describe('E15 a node whose directory was left by a newer version', () => {
  it('ends with exit code 1 at a record of the metadata that it does not know, skips none, and deletes nothing', async () => {
    const { node, dataDir } = await servedAndStopped()
    // A batch of one record, whose only field is the hundredth of the union.
    const entry = await commit(dataDir, Buffer.from([0x0a, 0x04, 0xa2, 0x06, 0x01, 0x00]))
    const before = await digestsOf(join(dataDir, 'topics'))
    const said = await refusal(node)
    expect(said).toContain('DATA_DIR_INVALID')
    expect(said).toContain('a newer version wrote this one')
    expect(await digestsOf(join(dataDir, 'topics'))).toEqual(before)
    expect(await metadataEntries(dataDir)).toContainEqual(entry)
  })

  it('ends with exit code 1 at a feature level that it does not know; the newer version goes on where it was', async () => {
    const sources = await makeNextVersion(await place.directory())
    const { node, dataDir } = await servedAndStopped(sources)
    const older = await place.node(dataDir)
    const before = await digestsOf(join(dataDir, 'topics'))
    const said = await refusal(older)
    expect(said).toContain('DATA_DIR_INVALID')
    expect(said).toContain(`feature level ${NEXT_LEVEL}`)
    expect(await digestsOf(join(dataDir, 'topics'))).toEqual(before)
    await node.start()
    expect(await valuesIn(await place.connect(node.address), 'hurt')).toEqual(['0', '1', '2'])
  })

  it('ends with exit code 1 at an identity in another format, and leaves everything as it is', async () => {
    const { node, dataDir } = await servedAndStopped()
    await replaceText(join(dataDir, 'meta.properties.json'), /"version":\s*\d+/, '"version":9')
    // But for the lock, an empty file by another name at every start.
    const left = async (): Promise<object[]> => [...(await digestsOf(dataDir))].filter(([path]) => !/lock\.\d+$/.test(path))
    const before = await left()
    expect(await refusal(node)).toContain(
      'says that it is of version 9, this tidemark reads up to 2: it is of a newer one, or damaged [DATA_DIR_INVALID]',
    )
    expect(await left()).toEqual(before)
  })

  it.each([
    ['whose partition file is of another version', 'partition.json', /"version":\s*2/, '"version":9', 'CORRUPT_LOG'],
    ['whose checkpoint is of another version', 'checkpoint.json', /"version":\s*2/, '"version":9', 'CORRUPT_LOG'],
  ])('takes a partition out of service %s, leaves it as it is, and serves the others', async (_how, file, from, to, code) => {
    const { node, dataDir } = await servedAndStopped()
    const hurt = join(dataDir, 'topics/hurt-0')
    await replaceText(join(hurt, file), from, to)
    const before = await digestsOf(hurt)
    await node.start()
    const { status, reasons } = await healthOf(node.address)
    expect({ status, codes: reasons.map((reason) => reason.code) }).toEqual({ status: 'unhealthy', codes: [code] })
    const tm = await place.connect(node.address)
    await expect(valuesIn(tm, 'hurt')).rejects.toMatchObject({ code })
    expect(await valuesIn(tm, 'well')).toEqual(['0', '1', '2'])
    await node.stop()
    expect(await digestsOf(hurt)).toEqual(before)
  })

  it('takes a partition out of service whose newest batches, whole, are of a format it does not know, and cuts nothing', async () => {
    const { node, dataDir } = await servedAndStopped(undefined, 'SIGKILL')
    const path = join(dataDir, 'topics/hurt-0', LOG)
    const content = await readFile(path)
    content[readBatchSize(content) + 16] = 3
    await writeFile(path, content)
    await node.start()
    const { reasons } = await healthOf(node.address)
    expect(reasons).toMatchObject([{ code: 'CORRUPT_LOG', message: expect.stringContaining('another version of tidemark wrote this') }])
    expect(await valuesIn(await place.connect(node.address), 'well')).toEqual(['0', '1', '2'])
    await node.stop()
    expect((await readFile(path)).equals(content)).toBe(true)
  })
})

describe('E15 two versions side by side', () => {
  it('an older node that joins the cluster of a newer one ends, says why, and takes nothing of it', async () => {
    const directory = await place.directory()
    const { node: newer } = await servedAndStopped(await makeNextVersion(directory))
    await newer.start()
    const dataDir = join(directory, 'older')
    const older = await place.node(dataDir, ['--node-id', '2', '--set', `join=${newer.address}`, '--set', 'roles=broker'])
    const said = await refusal(older)
    expect(said).toContain('DATA_DIR_INVALID')
    expect(said).toContain(`feature level ${NEXT_LEVEL}`)
    expect([...(await digestsOf(join(dataDir, 'topics'))).keys()]).toEqual([])
    expect((await (await place.connect(newer.address)).admin.describeCluster()).nodes.map(({ nodeId }) => nodeId)).toEqual([1])
  })
})
