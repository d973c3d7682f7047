/**
 * Every bit of every small file of a data directory flips, one at a time. Whoever opens it gets the right answers, or is told that something is
 * damaged; never a wrong one. Indexes, epochs and producers are made again from the log: those files keep nobody from opening it.
 */
import { describe, expect, it } from 'vitest'
import { readIdentity } from '../../log/data-dir-identity.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { MemoryFiles } from '../../testing/memory-files.ts'
import { flipsOf } from './flips.ts'
import {
  batchOf,
  configOf,
  contentOf,
  createWorld,
  DATA,
  ManualTime,
  NOW,
  openDir,
  openOrders,
  overwrite,
  PARTITION,
  readWhole,
} from './support.ts'

const PAD = 'x'.repeat(250)
const BATCHES = 14
const DAY_MS = 86_400_000
const config = configOf({ segmentBytes: 1600, retentionMs: DAY_MS })

/** When the batch of offset `at` was sent: a day is over for the first five when the answers are asked for. Every third is late. */
const timeOf = (at: number): number => NOW - DAY_MS + 1000 * (at - 5) - (at % 3 === 2 ? 3000 : 0)
const producerOf = (at: number): { id: number; epoch: number; baseSequence: number } => ({ id: 5, epoch: 0, baseSequence: at })
const batchAt = (at: number): Buffer => batchOf([`${at} ${PAD}`], { timestampMs: timeOf(at), producer: producerOf(at) })

async function filled(): Promise<MemoryFiles> {
  const world = createWorld(undefined, new ManualTime(NOW - DAY_MS))
  const dir = await openDir(world)
  await dir.owner.claim(1)
  dir.owner.nodeEpoch = 42
  const log = await openOrders(dir, config)
  for (let at = 0; at < BATCHES; at++) {
    log.append(batchAt(at), { leaderEpoch: at < 4 ? 1 : at < 9 ? 3 : 12 })
    await log.flush()
  }
  await dir.close()
  return world.files
}

/** All that somebody may ask of the log. */
async function answersOf(log: PartitionLog): Promise<unknown[]> {
  const end = log.logEndOffset
  const times = [0, ...Array.from({ length: BATCHES }, (_, at) => timeOf(at)), NOW]
  const answers: unknown[] = [log.logStartOffset, end, log.flushedOffset, log.leaderEpochs.entries]
  answers.push(await contentOf(log))
  // Backwards: whoever reads on from where a read ended needs no index.
  for (let offset = end - 1; offset >= log.logStartOffset; offset--) answers.push(await contentOf(log, offset, offset + 1))
  for (const time of times) answers.push(await log.offsetForTimestamp(time, end))
  answers.push(await log.offsetOfMaxTimestamp(end))
  for (let at = 0; at < BATCHES; at++) answers.push(log.append(batchAt(at), { leaderEpoch: 12 }))
  await log.applyRetention(end)
  answers.push(log.logStartOffset)
  return answers
}

async function ask(files: MemoryFiles): Promise<unknown[]> {
  const world = createWorld(files, new ManualTime())
  const dir = await openDir(world)
  const { identity, cleanShutdownEpoch } = dir.owner
  return [identity, ...(await answersOf(await openOrders(dir, config))), cleanShutdownEpoch]
}

const REBUILT = /leader-epoch-checkpoint$|snapshot$|index$/
/** Of which run a node had stopped cleanly: of none is what an unclean stop says, and then its copies do not count as complete. */
const CLEAN_SHUTDOWN = `${DATA}/clean-shutdown`

async function namesOf(files: MemoryFiles): Promise<string[]> {
  const names = await files.list(PARTITION)
  return [
    `${DATA}/meta.properties.json`,
    CLEAN_SHUTDOWN,
    ...names.filter((name) => !name.endsWith('.log')).map((name) => `${PARTITION}/${name}`),
  ]
}

const FILES = await filled()
const NAMES = (await namesOf(FILES)).map((path) => path.slice(DATA.length + 1))
const RIGHT = await ask(FILES.imageAfterCrash({ keep: () => true }))

describe('a bit that flips', () => {
  it.each(NAMES)('in %s leads to no wrong answer', async (name) => {
    const path = `${DATA}/${name}`
    const content = await readWhole(FILES, path)
    const counts = { right: 0, refused: 0 }
    for (const { flipped, place } of flipsOf(content)) {
      const files = FILES.imageAfterCrash({ keep: () => true })
      await overwrite(files, path, flipped)
      try {
        const answers = await ask(files)
        const isUnclean = path === CLEAN_SHUTDOWN && answers.at(-1) === 0
        expect(isUnclean ? [...answers.slice(0, -1), 42] : answers, place).toEqual(RIGHT)
        counts.right++
      } catch (error) {
        if (!TidemarkError.is(error) || (error.code !== 'CORRUPT_LOG' && error.code !== 'DATA_DIR_INVALID')) throw error
        counts.refused++
      }
    }
    if (REBUILT.test(name) || path === CLEAN_SHUTDOWN) expect(counts.refused).toBe(0)
    else expect(counts.refused).toBeGreaterThan(content.length)
  })
})

describe('files of before they had a checksum', () => {
  it('are read, and have one as soon as they are written again', async () => {
    const files = FILES.imageAfterCrash({ keep: () => true })
    for (const name of NAMES.filter((one) => /json$|clean-shutdown$/.test(one)).map((one) => `${DATA}/${one}`)) {
      const { crc, ...fields } = JSON.parse(String(await readWhole(files, name))) as Record<string, unknown>
      expect(crc).toBeTypeOf('number')
      await overwrite(files, name, Buffer.from(`${JSON.stringify({ ...fields, version: 1 })}\n`))
    }
    const epochs = `${PARTITION}/leader-epoch-checkpoint`
    await overwrite(files, epochs, Buffer.from('0\n3\n1 0\n3 4\n12 9\n'))
    expect(await ask(files.imageAfterCrash({ keep: () => true }))).toEqual(RIGHT)

    const dir = await openDir(createWorld(files, new ManualTime()))
    await dir.owner.claim(1)
    const log = await openOrders(dir, config)
    log.append(batchAt(BATCHES), { leaderEpoch: 12 })
    await dir.close()
    expect(String(await readWhole(files, epochs))).toMatch(/^1\n3\n1 \d+\n3 \d+\n12 9\ncrc \d+\n$/)
    expect(String(await readWhole(files, `${PARTITION}/checkpoint.json`))).toMatch(/"crc":\d+}\n$/)
    expect(await readIdentity(files, DATA)).toMatchObject({ nodeId: 1, starts: 2 })
    expect(String(await readWhole(files, `${DATA}/meta.properties.json`))).toMatch(/"crc":\d+}\n$/)
  })
})
