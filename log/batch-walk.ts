/**
 * Follows the batches that lie back to back in bytes read from a segment, trusting none of them.
 */
import {
  BATCH_HEADER_BYTES,
  batchSizeAt,
  isChecksumRight,
  readBaseOffset,
  readLastOffset,
  readLastOffsetDelta,
} from '../protocol/batch-header.ts'
import { TOPIC_SETTINGS } from '../protocol/topic-config.ts'

/** A batch that claims more than any topic accepts is damage. */
export const BATCH_BYTES_MAX: number = largestBatchBytes()

const MAGIC_AT = 16
const MAGIC = 2

/** A place in a segment where no batch can be. */
export interface Damage {
  readonly position: number
  readonly what: string
  /** A batch in a format that only another version knows, whole by its checksum: no crash leaves that. */
  readonly isOtherFormat?: boolean
}

/**
 * One step of a walk over `chunk`, which lies at `chunkPosition` of its file. `batch`: a whole batch, with its size. `short`: the
 * batch needs `neededBytes`, more than the chunk has left. `damaged`: no batch.
 */
export type Step =
  | { readonly kind: 'batch'; readonly sizeBytes: number }
  | { readonly kind: 'short'; readonly neededBytes: number }
  | ({ readonly kind: 'damaged' } & Omit<Damage, 'position'>)

/**
 * Looks at the batch at `at`. `fileBytesLeft` is what the file has from there on; `nextOffset` the least offset
 * that may come. The header is checked as soon as it is there, the checksum (with `checkCrc`) when the batch is whole.
 */
export function stepAt(chunk: Buffer, at: number, fileBytesLeft: number, nextOffset: number, checkCrc: boolean): Step {
  if (fileBytesLeft < BATCH_HEADER_BYTES) return { kind: 'damaged', what: `${fileBytesLeft} bytes are no batch` }
  if (chunk.length - at < BATCH_HEADER_BYTES) return { kind: 'short', neededBytes: BATCH_HEADER_BYTES }
  try {
    const sizeBytes = batchSizeAt(chunk, at, chunk.length, BATCH_BYTES_MAX) as number
    if (sizeBytes > fileBytesLeft) return { kind: 'damaged', what: `a batch claims ${sizeBytes} bytes, the file has ${fileBytesLeft} left` }
    const isWhole = sizeBytes <= chunk.length - at
    if (chunk[at + MAGIC_AT] !== MAGIC) {
      if (!isWhole) return { kind: 'short', neededBytes: sizeBytes }
      const what = `record format ${chunk[at + MAGIC_AT]} instead of ${MAGIC}`
      return { kind: 'damaged', what, isOtherFormat: isChecksumRight(chunk, at) }
    }
    const baseOffset = readBaseOffset(chunk, at)
    if (baseOffset < nextOffset || readLastOffsetDelta(chunk, at) < 0)
      return { kind: 'damaged', what: `offsets ${baseOffset} to ${readLastOffset(chunk, at)} where ${nextOffset} or more is expected` }
    if (!isWhole) return { kind: 'short', neededBytes: sizeBytes }
    if (checkCrc && !isChecksumRight(chunk, at))
      return { kind: 'damaged', what: `the checksum of the batch at offset ${baseOffset} is wrong` }
    return { kind: 'batch', sizeBytes }
  } catch (error) {
    return { kind: 'damaged', what: error instanceof Error ? error.message : String(error) }
  }
}

/** Whether a batch may begin at `offset` where `expected` is the next one: below `sparseBelow` offsets may be missing. */
export function follows(offset: number, expected: number, sparseBelow: number): boolean {
  return offset === expected || (offset > expected && offset <= sparseBelow)
}

/** What a reader wants. */
export interface Wanted {
  /** The first batch is the one that holds it, or the next where it is missing. */
  readonly offset: number
  /** At least one batch even when it is larger. */
  readonly maxBytes: number
  /** No batch that reaches it. */
  readonly endOffset: number
  /** Below, offsets may be missing. */
  readonly sparseBelow: number
  /** Whether checksums are compared, of what is handed on. */
  readonly checkCrc: boolean
}

/**
 * What there is of what is wanted, from `position` of the file on. `none`: the first batch that is not too old begins there, at offset
 * `firstOffset`, and is not wanted; at the end of the file there is no such batch.
 */
export type Found =
  | {
      readonly kind: 'batches'
      readonly batches: Buffer
      readonly position: number
      readonly firstOffset: number
      readonly nextOffset: number
    }
  | { readonly kind: 'none'; readonly position: number; readonly firstOffset: number | undefined }
  | ({ readonly kind: 'damage' } & Damage)

/** What a chunk had of it. `more`: nothing yet; go on at `position` with a chunk of at least `neededBytes`. */
export type Cut = Found | { readonly kind: 'more'; readonly position: number; readonly neededBytes: number; readonly nextOffset: number }

/** Cuts what is wanted out of a chunk that begins at a batch. */
export function cutBatches(chunk: Buffer, position: number, fileBytes: number, firstOffset: number, wanted: Wanted): Cut {
  let nextOffset = firstOffset
  let start = -1
  let unwantedOffset: number | undefined
  let at = 0
  while (position + at < fileBytes) {
    const step = wantedStepAt(chunk, at, fileBytes - position - at, nextOffset, wanted)
    if (step.kind === 'damaged') {
      // What lies before the damage is sound; who asks for more will hear of it.
      if (start >= 0) break
      return { kind: 'damage', position: position + at, what: step.what }
    }
    if (step.kind === 'short') {
      if (start >= 0) break
      return { kind: 'more', position: position + at, neededBytes: step.neededBytes, nextOffset }
    }
    // Nor is a batch where another is expected: who asks for that one will hear of it.
    if (start >= 0 && !follows(readBaseOffset(chunk, at), nextOffset, wanted.sparseBelow)) break
    const lastOffset = readLastOffset(chunk, at)
    if (lastOffset >= wanted.endOffset) {
      unwantedOffset = readBaseOffset(chunk, at)
      break
    }
    if (start >= 0 && at + step.sizeBytes - start > wanted.maxBytes) break
    if (start < 0 && lastOffset >= wanted.offset) start = at
    nextOffset = lastOffset + 1
    at += step.sizeBytes
    // A chunk that ends with a batch: ask for the header of the next.
    if (at === chunk.length && start < 0 && position + at < fileBytes)
      return { kind: 'more', position: position + at, neededBytes: BATCH_HEADER_BYTES, nextOffset }
    if (at === chunk.length) break
  }
  if (start < 0) return { kind: 'none', position: position + at, firstOffset: unwantedOffset }
  const batches = chunk.subarray(start, at)
  return { kind: 'batches', batches, position: position + start, firstOffset: readBaseOffset(batches), nextOffset }
}

/** As `stepAt`, with the checksum of a batch that is wanted: what is only passed on the way to it is looked at by who wants that. */
function wantedStepAt(chunk: Buffer, at: number, fileBytesLeft: number, nextOffset: number, { offset, checkCrc }: Wanted): Step {
  const step = stepAt(chunk, at, fileBytesLeft, nextOffset, false)
  if (!checkCrc || step.kind !== 'batch' || readLastOffset(chunk, at) < offset || isChecksumRight(chunk, at)) return step
  return { kind: 'damaged', what: `the checksum of the batch at offset ${readBaseOffset(chunk, at)} is wrong` }
}

function largestBatchBytes(): number {
  const type = TOPIC_SETTINGS['max.message.bytes']?.type
  return type?.kind === 'size' ? type.max : 0
}
