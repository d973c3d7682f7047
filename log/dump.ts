/**
 * Looks at the files of a log that nobody has open: for `tidemark log dump`. Never writes, never stops at a wrong checksum;
 * where no batch can be it says so and ends.
 */
import { type BatchHeader, isChecksumRight, readBatchHeader } from '../protocol/batch-header.ts'
import type { FileHandle, Files } from '../runtime/runtime.ts'
import { type Damage, stepAt } from './batch-walk.ts'

const CHUNK_BYTES = 1024 * 1024

export type DumpedItem =
  | {
      readonly kind: 'batch'
      readonly position: number
      readonly header: BatchHeader
      readonly isChecksumRight: boolean
      /** The whole batch, valid for as long as it is held. */
      readonly batch: Buffer
    }
  | ({ readonly kind: 'damage' } & Damage)

/** The batches of a `.log` file in order, from byte `position` on, where a batch must begin. Throws what `Files` throws, such as `ENOENT`. */
export async function* dumpSegment(files: Files, path: string, position = 0): AsyncGenerator<DumpedItem> {
  const handle = await files.open(path, 'read')
  try {
    const { sizeBytes } = await handle.stat()
    yield* dumpOpen(handle, position, sizeBytes)
  } finally {
    await handle.close()
  }
}

async function* dumpOpen(handle: FileHandle, from: number, fileBytes: number): AsyncGenerator<DumpedItem> {
  let position = from
  let chunkBytes = CHUNK_BYTES
  while (position < fileBytes) {
    const length = Math.min(chunkBytes, fileBytes - position)
    const chunk = Buffer.allocUnsafeSlow(length)
    const count = await handle.read(chunk, 0, length, position)
    if (count < length) return yield { kind: 'damage', position: position + count, what: 'the file became shorter' }
    let at = 0
    chunkBytes = CHUNK_BYTES
    while (position + at < fileBytes) {
      // Offsets are for the reader of the dump to judge: any will do.
      const step = stepAt(chunk, at, fileBytes - position - at, 0, false)
      if (step.kind === 'damaged') return yield { kind: 'damage', position: position + at, what: step.what }
      if (step.kind === 'short') {
        chunkBytes = Math.max(CHUNK_BYTES, step.neededBytes)
        break
      }
      const batch = chunk.subarray(at, at + step.sizeBytes)
      const item = readItem(batch, position + at)
      yield item
      if (item.kind === 'damage') return
      at += step.sizeBytes
    }
    position += at
  }
}

function readItem(batch: Buffer, position: number): DumpedItem {
  try {
    return { kind: 'batch', position, header: readBatchHeader(batch), isChecksumRight: isChecksumRight(batch), batch }
  } catch (error) {
    return { kind: 'damage', position, what: error instanceof Error ? error.message : String(error) }
  }
}
