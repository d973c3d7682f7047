/** What lies in a data directory: the small files one by one, and whole partitions with one file changed. */
import fc from 'fast-check'
import { parseCheckpoint, serializeCheckpoint } from '../../../log/checkpoint.ts'
import { readIdentity, takeCleanShutdown, writeIdentity } from '../../../log/data-dir-identity.ts'
import { LeaderEpochs } from '../../../log/leader-epochs.ts'
import { OffsetIndex } from '../../../log/offset-index.ts'
import { readPartitionFile } from '../../../log/partition-directory.ts'
import { ProducerState } from '../../../log/producer-state.ts'
import { TimeIndex } from '../../../log/time-index.ts'
import { verifyPartition } from '../../../log/verify.ts'
import { crc32c } from '../../../protocol/crc32c.ts'
import { MemoryFiles } from '../../../testing/memory-files.ts'
import {
  batchOf,
  configOf,
  contentOf,
  createWorld,
  DATA,
  openDir,
  openOrders,
  overwrite,
  PARTITION,
  put,
  readWhole,
} from '../../log/support.ts'
import { must, type Target } from '../target.ts'

const text = (...lines: readonly string[]): Buffer => Buffer.from(lines.join('\n'))

function producerSnapshot(): Buffer {
  const state = new ProducerState()
  for (let id = 0; id < 3; id++)
    for (let batch = 0; batch < 3; batch++)
      state.update({ producerId: id, epoch: 0, baseSequence: batch * 2, recordCount: 2 }, batch * 6 + id * 2, 1000, 100)
  return state.serialize(100)
}

function mendSnapshot(input: Buffer): Buffer {
  if (input.length < 10) return input
  const out = Buffer.from(input)
  out.writeInt16BE(2, 0)
  out.writeUInt32BE(crc32c(out, 6), 2)
  return out
}

async function fileWith(path: string, content: Buffer): Promise<MemoryFiles> {
  const files = new MemoryFiles()
  await files.makeDirectory(DATA)
  await overwrite(files, path, content)
  return files
}

/** JSON, and nothing that our files hold. */
const OTHER_JSON: readonly Buffer[] = ['null', '[]', '1', '"x"', '{"version":null}'].map((one) => text(one))

const IDENTITY = `${DATA}/meta.properties.json`

const smallFiles: readonly Target[] = [
  {
    name: 'checkpoint',
    what: 'checkpoint.json of a partition (parseCheckpoint); what is taken is written as the same',
    seeds: () => [
      serializeCheckpoint({
        logStartOffset: 3,
        recoveryOffset: 900,
        activeSinceMs: 1_700_000_000_000,
        segments: [
          { baseOffset: 0, sizeBytes: 4096, generation: 2 },
          { baseOffset: 900, sizeBytes: 0, generation: 0 },
        ],
        compaction: { cleanOffset: 900, sparseBelow: 900, tombstonesUntilMs: 1 },
      }),
      text('{"version":1,"logStartOffset":0,"recoveryOffset":0,"activeSinceMs":0,"segments":[]}'),
      ...OTHER_JSON,
    ],
    run(input) {
      const checkpoint = parseCheckpoint(input, 'checkpoint.json')
      const again = parseCheckpoint(serializeCheckpoint(checkpoint), 'checkpoint.json')
      must(JSON.stringify(again) === JSON.stringify(checkpoint), 'the same checkpoint')
    },
  },
  {
    name: 'leader-epochs',
    what: 'leader-epoch-checkpoint (LeaderEpochs.parse); what is taken is written as the same',
    seeds: () => [text('0', '2', '0 0', '5 100', ''), text('0', '0', '')],
    run(input) {
      const epochs = LeaderEpochs.parse(input)
      if (epochs === undefined) return
      const again = LeaderEpochs.parse(epochs.serialize())
      must(JSON.stringify(again?.entries) === JSON.stringify(epochs.entries), 'the same epochs')
    },
  },
  {
    name: 'producer-snapshot',
    what: 'the snapshot of the producers (ProducerState.parse); what is taken can be written',
    seeds: () => [producerSnapshot(), new ProducerState().serialize(0)],
    mend: mendSnapshot,
    run(input) {
      const state = ProducerState.parse(input)
      if (state === undefined) return
      const again = ProducerState.parse(state.serialize(Number.MAX_SAFE_INTEGER))
      must(again !== undefined, 'what was taken can be written and taken again')
    },
  },
  {
    name: 'offset-index',
    what: 'an offset index (OffsetIndex.parse); what is taken finds a position in the log for every offset',
    seeds: () => [Buffer.from('0000000500000001000000060000006400000009000000c8', 'hex')],
    run(input) {
      const index = OffsetIndex.parse(input, 1000)
      if (index === undefined) return
      for (const offset of [0, 5, 6, 2 ** 31 - 1]) must(index.lookup(offset) >= 0 && index.lookup(offset) <= 1000, 'a position in the log')
    },
  },
  {
    name: 'time-index',
    what: 'a time index (TimeIndex.parse); what is taken finds no offset below 0',
    seeds: () => [Buffer.from('000000010203040500000007000000010203040600000009', 'hex')],
    run(input) {
      const index = TimeIndex.parse(input)
      if (index !== undefined)
        for (const ms of [0, 0x0102030405, 2 ** 52]) must((index.lastBefore(ms)?.relativeOffset ?? 0) >= 0, 'an offset')
    },
  },
  {
    name: 'data-dir-identity',
    what: 'meta.properties.json and clean-shutdown of a data directory (readIdentity, takeCleanShutdown); an identity is written as the same',
    seeds: () => [
      text('{"version":1,"clusterId":"","nodeId":1,"directoryId":"AAAAAAAAAAAAAAAAAAAAAA"}', ''),
      text('{"version":1,"clusterId":"AAAAAAAAAAAAAAAAAAAAAA","nodeId":7,"directoryId":"x"}', ''),
      text('{"version":1,"nodeEpoch":12}', ''),
      ...OTHER_JSON,
    ],
    weight: 0.3,
    async run(input) {
      const { nodeEpoch } = await takeCleanShutdown(await fileWith(`${DATA}/clean-shutdown`, input), DATA)
      must(Number.isSafeInteger(nodeEpoch), 'an epoch is a whole number')
      const files = await fileWith(IDENTITY, input)
      const identity = await readIdentity(files, DATA)
      must(identity !== undefined, 'a file that is there says something')
      await writeIdentity(files, DATA, identity)
      must(JSON.stringify(await readIdentity(files, DATA)) === JSON.stringify(identity), 'the same identity')
    },
  },
  {
    name: 'partition-file',
    what: 'partition.json of a partition directory (readPartitionFile)',
    seeds: () => [text('{"version":1,"topic":"orders","partition":0,"topicId":"AAAAAAAAAAAAAAAAAAAAAA"}', ''), ...OTHER_JSON],
    weight: 0.3,
    async run(input) {
      await readPartitionFile(await fileWith(`${DATA}/partition.json`, input), DATA)
    },
  },
]

const CONFIG = configOf({ segmentBytes: 640, indexIntervalBytes: 200 })

/** The data directory of a node that was killed, with a partition of three segments: few records, because each of them is read several times in an execution. */
async function killedNode(): Promise<MemoryFiles> {
  const world = createWorld()
  const log = await openOrders(await openDir(world), CONFIG)
  for (let i = 0; i < 8; i++) await put(log, `${i} ${'x'.repeat(120)}`, { producer: { id: 1, epoch: 0, baseSequence: i } })
  log.append(batchOf(['last'], { producer: { id: 1, epoch: 0, baseSequence: 8 } }), { leaderEpoch: 3 })
  await log.flush()
  return world.files.crash(() => true)
}

/** The first byte says which file is changed, the rest is what it holds then. */
class KilledPartition {
  #files = new MemoryFiles()
  #names: readonly string[] = []

  async open(): Promise<void> {
    this.#files = await killedNode()
    this.#names = (await this.#files.list(PARTITION)).filter((name) => name !== 'partition.json').sort()
  }

  seeds(): Promise<Buffer[]> {
    return Promise.all(
      this.#names.map(async (name, at) => Buffer.concat([Buffer.from([at]), await readWhole(this.#files, `${PARTITION}/${name}`)])),
    )
  }

  async run(input: Buffer): Promise<void> {
    const changed = this.#names[(input[0] ?? 0) % this.#names.length] as string
    const world = createWorld(this.#files.copy())
    await overwrite(world.files, `${PARTITION}/${changed}`, input.subarray(1))
    await verifyPartition(world.files, PARTITION)
    const log = await openOrders(await openDir(world), CONFIG)
    must(log.logStartOffset <= log.logEndOffset, 'a log does not end before it begins')
    await contentOf(log)
    must((await put(log, 'more')) >= 0, 'what was opened takes records')
  }
}

const killed = new KilledPartition()

export const fileTargets: readonly Target[] = [
  ...smallFiles,
  {
    name: 'recovery',
    what: 'a partition after a kill with one file changed: checked (verifyPartition), opened (recoverLog), read and written',
    open: () => killed.open(),
    seeds: async (seed) => [
      ...(await killed.seeds()),
      ...fc.sample(fc.uint8Array({ maxLength: 64 }), { seed, numRuns: 10 }).map((array) => Buffer.from(array)),
    ],
    run: (input) => killed.run(input),
    // Every record of the partition is an object, and so is every call to its files, however small the input is.
    outputBytesMax: 64 * 1024,
    weight: 0.004,
  },
]
