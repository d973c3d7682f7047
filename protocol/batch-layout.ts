/**
 * Where the fields of a record batch lie (format v2, magic 2), all big-endian.
 *
 * ```
 * position  bytes  field
 *        0      8  baseOffset            set by the leader
 *        8      4  batchLength           bytes after this field
 *       12      4  partitionLeaderEpoch  set by the leader
 *       16      1  magic                 2
 *       17      4  crc                   CRC-32C of everything from `attributes` to the end
 *       21      2  attributes            bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
 *       23      4  lastOffsetDelta       last offset = baseOffset + this
 *       27      8  baseTimestamp
 *       35      8  maxTimestamp
 *       43      8  producerId            -1: none
 *       51      2  producerEpoch
 *       53      4  baseSequence
 *       57      4  recordCount
 *       61      …  records
 * ```
 */
import { TidemarkError } from './errors.ts'
import { OFFSET_MAX } from './ids.ts'

export const AT = {
  baseOffset: 0,
  batchLength: 8,
  leaderEpoch: 12,
  magic: 16,
  crc: 17,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  producerEpoch: 51,
  baseSequence: 53,
  recordCount: 57,
} as const

/** Throws `CORRUPT_BATCH` when the number passes 2^53 - 1 either way. */
export function readInt64(buffer: Buffer, at: number): number {
  const value = buffer.readInt32BE(at) * 0x1_0000_0000 + buffer.readUInt32BE(at + 4)
  if (value > OFFSET_MAX || value < -OFFSET_MAX)
    throw new TidemarkError('CORRUPT_BATCH', `the 64-bit number at byte ${at} passes 2^53`, { outcome: 'failed' })
  return value
}

export function writeInt64(buffer: Buffer, value: number, at: number): void {
  const high = Math.floor(value / 0x1_0000_0000)
  buffer.writeInt32BE(high, at)
  buffer.writeUInt32BE(value - high * 0x1_0000_0000, at + 4)
}
