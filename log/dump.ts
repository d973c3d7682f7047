/**
 * Looks at the files of a log that nobody has open: for `tidemark log dump`. Never writes, never stops at a wrong checksum;
 * where no batch can be it says so and ends.
 */
import { type BatchHeader, isChecksumRight, readBatchHeader } from '../protocol/batch-header.ts'
import type { FileHandle, Files } from '../runtime/runtime.ts'
import { batchChunks } from './batch-chunks.ts'
import type { Damage } from './batch-walk.ts'

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
  const chunks = batchChunks(handle, { from, to: fileBytes, firstOffset: undefined, checkCrc: false })
  for (let chunk = await chunks.next(); ; chunk = await chunks.next()) {
    if (chunk.done) {
      if (chunk.value.damage !== undefined) yield { kind: 'damage', ...chunk.value.damage }
      return
    }
    for (const { batch, position } of chunk.value) {
      const item = readItem(Buffer.from(batch), position)
      yield item
      if (item.kind === 'damage') return
    }
  }
}

function readItem(batch: Buffer, position: number): DumpedItem {
  try {
    return { kind: 'batch', position, header: readBatchHeader(batch), isChecksumRight: isChecksumRight(batch), batch }
  } catch (error) {
    return { kind: 'damage', position, what: error instanceof Error ? error.message : String(error) }
  }
}
