/** Small files that are replaced as a whole: after a crash there is the old one or the new one. */
import type { FileHandle, Files } from './runtime.ts'

const TEMPORARY_SUFFIX = '.tmp'

/** A small file of ours is never larger; more is damage. */
const SMALL_FILE_BYTES_MAX = 256 * 1024 * 1024

/** Replaces the file at `directory/name`; durable when it resolves. */
export async function writeFileAtomic(files: Files, directory: string, name: string, content: Buffer): Promise<void> {
  await replaceFile(files, directory, name, content)
  await files.syncDirectory(directory)
}

/** As `writeFileAtomic` but leaves the directory to be synced by the caller, who has more names to make durable. */
export async function replaceFile(files: Files, directory: string, name: string, content: Buffer): Promise<void> {
  const path = `${directory}/${name}`
  const temporary = `${path}${TEMPORARY_SUFFIX}`
  await files.remove(temporary)
  const handle = await files.open(temporary, 'create')
  try {
    await handle.write([content], 0)
    await handle.datasync()
  } finally {
    await handle.close()
  }
  await files.rename(temporary, path)
}

/** The whole file, or undefined when there is none. */
export async function readSmallFile(files: Files, path: string): Promise<Buffer | undefined> {
  let handle: FileHandle
  try {
    handle = await files.open(path, 'read')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
  try {
    const { sizeBytes } = await handle.stat()
    if (sizeBytes > SMALL_FILE_BYTES_MAX) return undefined
    const content = Buffer.alloc(sizeBytes)
    const count = await handle.read(content, 0, sizeBytes, 0)
    return content.subarray(0, count)
  } finally {
    await handle.close()
  }
}

export function isTemporary(name: string): boolean {
  return name.endsWith(TEMPORARY_SUFFIX)
}
