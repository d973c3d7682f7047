/**
 * Batches with fewer records than they were produced with, as compaction makes them: base and last offset, producer, sequence and leader
 * epoch stay, the offsets of what is gone are missing.
 *
 * A batch that keeps a record without a value (a tombstone) is marked with its delete horizon: bit 6 of the attributes says that `baseTimestamp`
 * is the time from which on the tombstones in it may go. The timestamps of its records count from there, back.
 */
import {
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_OVERHEAD_BYTES,
  CODEC_MASK,
  DELETE_HORIZON_BIT,
  readAttributes,
  readBaseTimestamp,
  readMaxTimestamp,
  renewChecksum,
} from './batch-header.ts'
import { AT, writeInt64 } from './batch-layout.ts'

/** Undefined for a batch without one. */
export function readDeleteHorizon(batch: Buffer): number | undefined {
  return (readAttributes(batch) & DELETE_HORIZON_BIT) === 0 ? undefined : readBaseTimestamp(batch)
}

/** What is left of a batch. */
export interface Remainder {
  /** As they come after the header, compressed with the batch's codec. */
  readonly records: Buffer
  readonly recordCount: number
  readonly maxTimestamp: number
  /** Set: the batch gets it, and the timestamps of `records` count from it. */
  readonly deleteHorizonMs: number | undefined
}

/** The batch with these records in place of its own. */
export function withRecords(batch: Buffer, { records, recordCount, maxTimestamp, deleteHorizonMs }: Remainder): Buffer {
  const rewritten = Buffer.allocUnsafeSlow(BATCH_HEADER_BYTES + records.length)
  batch.copy(rewritten, 0, 0, BATCH_HEADER_BYTES)
  records.copy(rewritten, BATCH_HEADER_BYTES)
  rewritten.writeInt32BE(rewritten.length - BATCH_LENGTH_OVERHEAD_BYTES, AT.batchLength)
  rewritten.writeInt32BE(recordCount, AT.recordCount)
  writeInt64(rewritten, maxTimestamp, AT.maxTimestamp)
  if (deleteHorizonMs !== undefined) {
    rewritten.writeInt16BE(readAttributes(batch) | DELETE_HORIZON_BIT, AT.attributes)
    writeInt64(rewritten, deleteHorizonMs, AT.baseTimestamp)
  }
  renewChecksum(rewritten, 0)
  return rewritten
}

/** The batch without records: what is kept of it for its offsets, its sequence or its leader epoch. */
export function withoutRecords(batch: Buffer): Buffer {
  const empty = Buffer.from(batch.subarray(0, BATCH_HEADER_BYTES))
  empty.writeInt32BE(BATCH_HEADER_BYTES - BATCH_LENGTH_OVERHEAD_BYTES, AT.batchLength)
  empty.writeInt16BE(readAttributes(batch) & ~(CODEC_MASK | DELETE_HORIZON_BIT), AT.attributes)
  empty.writeInt32BE(0, AT.recordCount)
  writeInt64(empty, readMaxTimestamp(batch), AT.baseTimestamp)
  renewChecksum(empty, 0)
  return empty
}
