/** The part of a log that the groups of one partition of `__consumer_offsets` need. */
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import { readLastOffset } from '../../protocol/batch-header.ts'
import { readRecords, splitBatches } from '../../protocol/batch-reader.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { CONSUMER_OFFSETS_BATCH_BYTES_MAX } from '../../protocol/internal-topics.ts'
import type { Runtime } from '../../runtime/runtime.ts'
import type { Reached } from '../offset-waiters.ts'
import type { Partition } from '../partition.ts'
import type { EncodedRecord } from './group-records.ts'

/** How long a change may take to be committed before whoever made it is told that nobody knows. */
const COMMIT_TIMEOUT_MS = 10_000

/** Read at once when the log is read again. */
const REPLAY_STEP_BYTES = 1024 * 1024

export interface GroupLog {
  /** Writes all of `records` in one batch, or throws a `TidemarkError` and writes nothing. Returns the offset behind them. */
  append(records: readonly EncodedRecord[]): number
  /** Calls `reached` once: when everything below `offset` is committed, or with why nobody knows. At once where it is committed already. */
  whenCommitted(offset: number, reached: Reached): void
  /** All records there are, in order, and resolves when they are committed. Rejects when the log cannot be read. Stops when `isOver` says so. */
  replay(apply: (key: Buffer | null, value: Buffer | null) => void, isOver: () => boolean): Promise<void>
}

/** Of a partition that this node leads. */
export class PartitionGroupLog implements GroupLog {
  readonly #partition: Partition
  readonly #runtime: Pick<Runtime, 'clock' | 'timers'>
  readonly #leaderEpoch: number

  constructor(partition: Partition, runtime: Pick<Runtime, 'clock' | 'timers'>) {
    this.#partition = partition
    this.#runtime = runtime
    this.#leaderEpoch = partition.leaderEpoch
  }

  append(records: readonly EncodedRecord[]): number {
    const partition = this.#partition
    partition.checkLeadership(this.#leaderEpoch)
    partition.checkEnoughReplicas()
    if (partition.log.unwrittenBytes > partition.budget.maxBytes) throw partition.budget.refuse(partition.log.unwrittenBytes)
    return partition.append(batchOf(records, this.#runtime.clock.now())).lastOffset + 1
  }

  whenCommitted(offset: number, reached: Reached): void {
    this.#partition.whenCommitted(offset, this.#runtime.clock.monotonic() + COMMIT_TIMEOUT_MS, reached)
  }

  async replay(apply: (key: Buffer | null, value: Buffer | null) => void, isOver: () => boolean): Promise<void> {
    const { log } = this.#partition
    // Nobody else writes to it: what is there now is all, down to what the predecessor did not see committed.
    const endOffset = log.logEndOffset
    for (let offset = log.logStartOffset; offset < endOffset && !isOver(); ) {
      const batches = (await log.read(offset, REPLAY_STEP_BYTES, endOffset)).flatMap(splitBatches)
      if (batches.length === 0) break
      for (const batch of batches) {
        for (const record of await readRecords(batch)) apply(record.key, record.value)
        offset = readLastOffset(batch) + 1
      }
      await new Promise<void>((resolve) => this.#runtime.timers.nextTurn(resolve))
    }
    while (!isOver() && !(await this.#isCommitted(endOffset))) {
      // Too few replicas are in sync: it is committed once there are enough.
    }
  }

  #isCommitted(offset: number): Promise<boolean> {
    const { timers } = this.#runtime
    return new Promise((resolve) => {
      this.whenCommitted(offset, (error) => {
        if (error === undefined) resolve(true)
        else timers.after(RETRY_MS, () => resolve(false))
      })
    })
  }
}

const RETRY_MS = 100

function batchOf(records: readonly EncodedRecord[], nowMs: number): Buffer {
  const bytes = records.reduce((sum, { key, value }) => sum + BatchBuilder.sizeBoundBytes(key, value), 0)
  if (bytes > CONSUMER_OFFSETS_BATCH_BYTES_MAX - 1024) {
    throw new TidemarkError(
      'LIMIT_EXCEEDED',
      `a change of ${bytes} bytes is too large to be made at once, at most ${CONSUMER_OFFSETS_BATCH_BYTES_MAX} are`,
      { outcome: 'failed' },
    )
  }
  const builder = new BatchBuilder(bytes + 1024)
  for (const { key, value } of records) builder.append(key, value, nowMs)
  return builder.buildSync()
}
