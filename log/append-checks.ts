/** What a batch must be before a log takes it, and what of its header the log goes by. */
import {
  BATCH_HEADER_BYTES,
  codecOf,
  isChecksumRight,
  readAttributes,
  readBaseOffset,
  readBaseSequence,
  readLastOffsetDelta,
  readLeaderEpoch,
  readProducerEpoch,
  readProducerId,
  validateProducedBatch,
  validateRecords,
} from '../protocol/batch-header.ts'
import { compressionOfNumber, DECOMPRESSED_BYTES_MAX_DEFAULT, loadCodec, loadedCodec } from '../protocol/compression.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { isCompacted, type TopicConfig } from '../protocol/topic-config.ts'
import type { ProducerBatch } from './producer-state.ts'
import { follows } from './batch-walk.ts'

/** How long a codec takes to be loaded, more or less. */
const CODEC_LOADED_MS = 20

/** Throws `RECORD_TOO_LARGE`, or what is wrong with the batch itself. */
export function checkBatch(batch: Buffer, topic: string, config: TopicConfig, nowMs: number): void {
  const { maxMessageBytes, timestampAfterMaxMs, timestampType } = config
  if (batch.length > maxMessageBytes) {
    throw new TidemarkError(
      'RECORD_TOO_LARGE',
      `a batch of ${batch.length} bytes is larger than max.message.bytes of ${topic} (${maxMessageBytes})`,
      {
        outcome: 'failed',
      },
    )
  }
  const timestampMaxMs = timestampType === 'append' ? Number.POSITIVE_INFINITY : nowMs + timestampAfterMaxMs
  const needsKeys = isCompacted(config)
  validateProducedBatch(batch, { timestampMaxMs, needsKeys })
  if (needsKeys) checkCompressedKeys(batch)
}

/**
 * Compressed batches are decompressed only here, only for compacted topics, and at once, for appends keep their order. A MiB of records takes 1 to
 * 2 ms with zstd, 4 to 10 with snappy and gzip, 10 to 20 with lz4. A codec that is used for the first time has to be loaded, which takes
 * longer than an append may: the producer sends the batch again.
 */
function checkCompressedKeys(batch: Buffer): void {
  const number = codecOf(readAttributes(batch))
  if (number === 0) return
  const name = compressionOfNumber(number)
  const codec = loadedCodec(name)
  if (codec === undefined) {
    // It fails only where a package is missing, and then the answer stays the same.
    loadCodec(name).catch(() => {})
    throw new TidemarkError('BUSY', `${name} is being loaded`, { retryAfterMs: CODEC_LOADED_MS, outcome: 'failed' })
  }
  const plain = codec.decompress(batch.subarray(BATCH_HEADER_BYTES), DECOMPRESSED_BYTES_MAX_DEFAULT)
  validateRecords(batch, { buffer: plain, position: 0, end: plain.length }, true)
}

/** Undefined for a producer without idempotence. */
export function producerOf(batch: Buffer): ProducerBatch | undefined {
  const producerId = readProducerId(batch)
  if (producerId < 0) return undefined
  // Compaction takes records, not sequences: those go by the offsets.
  const recordCount = readLastOffsetDelta(batch) + 1
  return { producerId, epoch: readProducerEpoch(batch), baseSequence: readBaseSequence(batch), recordCount }
}

/** A log as its leader's batches meet it. */
export interface FollowedEnd {
  readonly endOffset: number
  readonly latestEpoch: number
  /** Below, offsets may be missing in the leader's log. */
  readonly sparseBelow: number
  /** Of the leader that sends. */
  readonly leaderEpoch: number
}

/** Whether a batch that came from a leader follows on the end of a log. Throws `CORRUPT_BATCH`, `OFFSET_OUT_OF_RANGE`. */
export function checkFollows(
  batch: Buffer,
  where: string,
  { endOffset, latestEpoch, sparseBelow, leaderEpoch }: FollowedEnd,
): { readonly baseOffset: number; readonly epoch: number } {
  // A flipped bit goes no further.
  if (!isChecksumRight(batch)) throw new TidemarkError('CORRUPT_BATCH', `a batch of ${where} came from its leader with a wrong checksum`)
  const baseOffset = readBaseOffset(batch)
  const epoch = readLeaderEpoch(batch)
  // The checksum does not cover it.
  if (epoch > leaderEpoch)
    throw new TidemarkError('CORRUPT_BATCH', `a batch of ${where} came from its leader of epoch ${leaderEpoch} with epoch ${epoch}`)
  // Nor the offset it begins at: a lie there must not make the log end at a number that has no successor, or where it began.
  const nextOffset = baseOffset + readLastOffsetDelta(batch) + 1
  if (nextOffset <= baseOffset || !Number.isSafeInteger(nextOffset))
    throw new TidemarkError('CORRUPT_BATCH', `a batch of ${where} came from its leader with the offsets ${baseOffset} to ${nextOffset - 1}`)
  if (follows(baseOffset, endOffset, sparseBelow) && epoch >= latestEpoch) return { baseOffset, epoch }
  throw new TidemarkError(
    'OFFSET_OUT_OF_RANGE',
    `${where} ends at offset ${endOffset} in epoch ${latestEpoch}, a batch of offset ${baseOffset} and epoch ${epoch} does not follow`,
  )
}
