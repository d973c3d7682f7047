/** Opens an image as a node does and compares what is there with what was acknowledged. */
import type { PartitionLog } from '../../log/partition-log.ts'
import { verifyPartition } from '../../log/verify.ts'
import { readBaseOffset, readLastOffset, readLeaderEpoch } from '../../protocol/batch-header.ts'
import { readRecords } from '../../protocol/batch-reader.ts'
import { DUPLICATE_WINDOW } from '../../protocol/ids.ts'
import { isCompacted } from '../../protocol/topic-config.ts'
import type { MemoryFiles } from '../../testing/memory-files.ts'
import { batchesOf, textOf } from '../log/compaction-support.ts'
import { createWorld, ManualTime, openDir, openOrders, PARTITION } from '../log/support.ts'
import { must } from '../sim/oracles.ts'
import { encode } from './batches.ts'
import type { Expected, WrittenRecord } from './expected.ts'

/** What was found. */
export interface Recovered {
  readonly startOffset: number
  readonly endOffset: number
}

/** Throws `Broken` when anything is not as it must be, and whatever the log throws. Changes the image. */
export async function checkImage(files: MemoryFiles, expected: Expected): Promise<Recovered> {
  const world = createWorld(files, new ManualTime(expected.nowMs))
  const dir = await openDir(world, { openFilesMax: 4 })
  must(expected.mayBeClean || !dir.owner.wasCleanShutdown, 'a crash passes for a clean stop')
  const log = await openOrders(dir, expected.config)
  const recovered = { startOffset: log.logStartOffset, endOffset: log.logEndOffset }
  checkEnds(recovered, expected)
  must(
    log.flushedOffset === log.logEndOffset,
    `what is there, up to ${log.logEndOffset}, counts as durable up to ${log.flushedOffset} only`,
  )
  const found = await readAll(log)
  checkRecords(found, recovered, expected)
  checkEpochs(log, found)
  await checkLookUps(log, found)
  await checkProducers(log, expected)
  await dir.close()
  const damage = (await verifyPartition(files, PARTITION)).findings.filter(({ severity }) => severity === 'damage')
  must(damage.length === 0, `after a clean stop: ${damage.map(({ file, problem }) => `${file}: ${problem}`).join('; ')}`)
  must(files.openHandleCount === 0, `${files.openHandleCount} files are left open`)
  return recovered
}

function checkEnds({ startOffset, endOffset }: Recovered, { records, durable, startMin, startMax }: Expected): void {
  const last = (records.at(-1)?.offset ?? -1) + 1
  must(endOffset >= durable, `${durable} records were acknowledged, the log ends at ${endOffset}`)
  must(endOffset <= last || endOffset === startOffset, `${last} records were written, the log ends at ${endOffset}`)
  must(startOffset >= startMin && startOffset <= startMax, `the log starts at ${startOffset}, not from ${startMin} to ${startMax}`)
}

async function readAll(log: PartitionLog): Promise<WrittenRecord[]> {
  const found: WrittenRecord[] = []
  for (const batch of await batchesOf(log)) {
    // It may begin before the log does.
    const { epoch } = log.leaderEpochs.at(readLastOffset(batch))
    must(epoch === readLeaderEpoch(batch), `offset ${readLastOffset(batch)} has epoch ${readLeaderEpoch(batch)}, the log says ${epoch}`)
    for (const { offset, key, value, timestampMs } of await readRecords(batch)) {
      if (offset < log.logStartOffset) continue
      found.push({ offset, key: textOf(key), value: textOf(value), timestampMs, epoch: readLeaderEpoch(batch) })
    }
    must(readLastOffset(batch) < log.logEndOffset, 'a batch reaches beyond the end of the log')
  }
  return found
}

/** Each record is one that was written there; what is missing was compacted away: there is a newer one of its key. */
function checkRecords(found: readonly WrittenRecord[], { startOffset, endOffset }: Recovered, { records, config }: Expected): void {
  const byOffset = new Map(found.map((record) => [record.offset, record]))
  must(byOffset.size === found.length, 'an offset is there twice')
  const newest = new Map<string | null, WrittenRecord>()
  const written = records.filter(({ offset }) => offset >= startOffset && offset < endOffset)
  for (const record of written) newest.set(record.key, record)
  for (const record of written) {
    const present = byOffset.get(record.offset)
    byOffset.delete(record.offset)
    if (present !== undefined) {
      must(isSame(present, record), `offset ${record.offset}: ${JSON.stringify(present)} instead of ${JSON.stringify(record)}`)
      continue
    }
    const successor = newest.get(record.key)
    const isReplaced = isCompacted(config) && successor !== undefined && (successor !== record || record.value === null)
    must(isReplaced, `offset ${record.offset} is missing (${startOffset} to ${endOffset})`)
  }
  must(byOffset.size === 0, `offsets ${[...byOffset.keys()].join()} were never written`)
  if (isCompacted(config)) checkDeletions(found, newest)
}

/** A deletion that is gone has taken everything with it. */
function checkDeletions(found: readonly WrittenRecord[], newest: ReadonlyMap<string | null, WrittenRecord>): void {
  const offsets = new Set(found.map(({ offset }) => offset))
  for (const record of found) {
    const last = newest.get(record.key)
    must(last === undefined || last.value !== null || offsets.has(last.offset), `${record.key} was deleted and is there again`)
  }
}

function checkEpochs(log: PartitionLog, found: readonly WrittenRecord[]): void {
  const latest = found.at(-1)
  const entries = log.leaderEpochs.entries
  const last = entries.at(-1)
  must(
    last === undefined || last.startOffset < log.logEndOffset || last.startOffset === log.logStartOffset,
    `epoch ${last?.epoch} begins at ${last?.startOffset}, the log ends at ${log.logEndOffset}`,
  )
  if (latest?.offset === log.logEndOffset - 1)
    must(last?.epoch === latest.epoch, `the last record is of epoch ${latest.epoch}, the log says ${last?.epoch}`)
}

/** Through the indexes the same is found as by looking at all of it. */
async function checkLookUps(log: PartitionLog, found: readonly WrittenRecord[]): Promise<void> {
  const step = Math.max(1, Math.floor(found.length / 8))
  for (let at = 0; at < found.length; at += step) {
    const { offset, timestampMs } = found[at] as WrittenRecord
    const [first] = await log.read(offset, 1, log.logEndOffset)
    must(
      first !== undefined && readBaseOffset(first) <= offset && readLastOffset(first) >= offset,
      `reading from ${offset} begins at ${first && readBaseOffset(first)}`,
    )
    const wanted = found.find((record) => record.timestampMs >= timestampMs)
    const answer = await log.offsetForTimestamp(timestampMs, log.logEndOffset)
    must(answer?.offset === wanted?.offset, `time ${timestampMs} is found at ${answer?.offset} instead of ${wanted?.offset}`)
  }
}

/** Whoever sends again is told that it is there; whoever goes on may. */
async function checkProducers(log: PartitionLog, { sent, nowMs }: Expected): Promise<void> {
  const foundEnd = log.logEndOffset
  for (const producerId of new Set(sent.map((batch) => batch.producerId))) {
    const present = sent.filter((batch) => batch.producerId === producerId && (batch.records.at(-1)?.offset ?? 0) < foundEnd)
    const inWindow = present.slice(-DUPLICATE_WINDOW).filter(({ baseOffset }) => baseOffset >= log.logStartOffset)
    for (const batch of inWindow) {
      const { duplicate, baseOffset } = log.append(encode(batch.records, batch), { leaderEpoch: 99 })
      must(
        duplicate && baseOffset === batch.baseOffset,
        `batch ${batch.baseSequence} of producer ${producerId}, at ${batch.baseOffset}, is ${duplicate ? 'found' : 'taken again'} at ${baseOffset}`,
      )
    }
    const last = inWindow.at(-1)
    if (last === undefined) continue
    const end = log.logEndOffset
    const next = { producerId, baseSequence: last.baseSequence + last.records.length }
    const record = { offset: end, key: 'next', value: 'next', timestampMs: nowMs, epoch: 99 }
    const { duplicate, baseOffset } = log.append(encode([record], next), { leaderEpoch: 99 })
    must(!duplicate && baseOffset === end, `producer ${producerId} cannot go on behind ${last.baseOffset}`)
  }
  await log.flush()
}

function isSame(one: WrittenRecord, other: WrittenRecord): boolean {
  return one.key === other.key && one.value === other.value && one.timestampMs === other.timestampMs && one.epoch === other.epoch
}
