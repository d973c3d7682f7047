/** Reads a file of batches from front to back, a chunk at a time, trusting none of it. */
import { readLastOffset } from '../protocol/batch-header.ts'
import type { FileHandle } from '../runtime/runtime.ts'
import { type Damage, stepAt } from './batch-walk.ts'

/** How much is read at once. */
const CHUNK_BYTES = 1024 * 1024

export interface ScanRange {
  readonly from: number
  readonly to: number
  /** The least offset the first batch may have; undefined: offsets are for someone else to judge. */
  readonly firstOffset: number | undefined
  readonly checkCrc: boolean
  /** The walk ends, between two batches, once it has gone over so many bytes. Default: no limit. */
  readonly maxBytes?: number
}

/** Where a walk ended, and why if not at the end of its range. */
export interface ScanEnd {
  readonly position: number
  readonly damage: Damage | undefined
}

export interface PlacedBatch {
  readonly batch: Buffer
  readonly position: number
}

/** The whole batches of each chunk, valid until the next one is asked for. Ends at the first that cannot be right. */
export async function* batchChunks(handle: FileHandle, range: ScanRange): AsyncGenerator<readonly PlacedBatch[], ScanEnd, undefined> {
  // One for all chunks: memory outside the heap is given back late.
  let memory = Buffer.alloc(0)
  let { from: position } = range
  let nextOffset = range.firstOffset ?? 0
  const usualBytes = Math.min(CHUNK_BYTES, range.maxBytes ?? CHUNK_BYTES)
  const end = Math.min(range.to, range.from + (range.maxBytes ?? range.to))
  let chunkBytes = usualBytes
  while (position < end) {
    const length = Math.min(chunkBytes, range.to - position)
    if (memory.length < length) memory = Buffer.allocUnsafeSlow(length)
    const chunk = memory.subarray(0, await handle.read(memory, 0, length, position))
    const batches: PlacedBatch[] = []
    let at = 0
    let damage: Damage | undefined
    chunkBytes = usualBytes
    while (position + at < end && damage === undefined) {
      const step = stepAt(chunk, at, range.to - position - at, nextOffset, range.checkCrc)
      if (step.kind === 'damaged') damage = { position: position + at, what: step.what, isOtherFormat: step.isOtherFormat === true }
      if (step.kind === 'short') chunkBytes = Math.max(usualBytes, step.neededBytes)
      if (step.kind !== 'batch') break
      const batch = chunk.subarray(at, at + step.sizeBytes)
      batches.push({ batch, position: position + at })
      if (range.firstOffset !== undefined) nextOffset = readLastOffset(batch) + 1
      at += step.sizeBytes
    }
    if (at === 0 && damage === undefined && chunk.length < length) damage = { position, what: 'the file ends early' }
    position += at
    if (batches.length > 0) yield batches
    if (damage !== undefined) return { position, damage }
  }
  return { position, damage: undefined }
}

/** Up to `length` bytes; fewer only at the end of the file. */
export async function readChunk(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const chunk = Buffer.allocUnsafeSlow(length)
  const count = await handle.read(chunk, 0, length, position)
  return count === length ? chunk : chunk.subarray(0, count)
}
