/** What the files of a data directory are made and read with. */
import { TidemarkError } from '../protocol/errors.ts'
import { type DirectoryHealth, isDiskBroken } from './directory-health.ts'
import type { Files } from '../runtime/runtime.ts'

/** Does `work` on every item, on at most `concurrency` at a time. */
export async function inGroups<T>(items: readonly T[], concurrency: number, work: (item: T) => Promise<unknown>): Promise<void> {
  const rest = items.values()
  const worker = async (): Promise<void> => {
    for (const item of rest) await work(item)
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker))
}

/** Waits for all of them, also when one fails: what is under way must not go on behind the back of whoever hears of the failure. */
export async function allOf(work: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason
}

/** Makes a directory and those above it that are missing; a crash does not take them away again. */
export async function makeDurableDirectory(files: Files, path: string): Promise<void> {
  const missing: string[] = []
  let present = path
  while (present !== '' && (await files.stat(present)) === undefined) {
    missing.push(present)
    present = parentOf(present)
  }
  await files.makeDirectory(path)
  for (const created of missing) await files.syncDirectory(parentOf(created))
}

function parentOf(path: string): string {
  const end = path.replace(/\/+$/, '').lastIndexOf('/')
  return end < 0 ? '.' : path.slice(0, end) || '/'
}

export function jsonFile(fields: object): Buffer {
  return Buffer.from(`${JSON.stringify(fields)}\n`)
}

/** Throws `DATA_DIR_INVALID` when it is no object in JSON. */
export function parseJsonFile(content: Buffer, path: string): Record<string, unknown> {
  const damaged = (cause?: unknown): TidemarkError => new TidemarkError('DATA_DIR_INVALID', `${path} is damaged`, { cause })
  let value: unknown
  try {
    value = JSON.parse(content.toString('utf8'))
  } catch (error) {
    throw damaged(error)
  }
  if (typeof value !== 'object' || value === null) throw damaged()
  return value as Record<string, unknown>
}

/** System errors as ours, with the path and what they mean. A device that fails is out of service for all (`health`). */
export async function guarded<T>(path: string, work: () => Promise<T>, health?: DirectoryHealth): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (TidemarkError.is(error)) throw error
    if (isDiskBroken(error)) health?.fail(path, error)
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    const message = error instanceof Error ? error.message : String(error)
    if (code === 'ELOCKED') throw new TidemarkError('DATA_DIR_LOCKED', `${path} is in use: ${message}`, { cause: error })
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new TidemarkError('DISK_FULL', `${path}: ${message}`, { cause: error, outcome: 'failed' })
    if (code === undefined) throw error
    throw new TidemarkError('DATA_DIR_INVALID', `${path}: ${message}`, { cause: error })
  }
}
