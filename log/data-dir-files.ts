/** What the files of a data directory are made and read with. */
import { crc32c } from '../protocol/crc32c.ts'
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

const VERSION = 2
const VERSION_WITHOUT_CRC = 1

/**
 * A file that holds one object. A bit that flips in it must not make another object of it: the last field is a CRC-32C of the text
 * without it. Version 1 had none.
 */
export function jsonFile(fields: object): Buffer {
  const sealed = { version: VERSION, ...fields }
  return Buffer.from(`${JSON.stringify({ ...sealed, crc: checksumOf(sealed) })}\n`)
}

/** The fields that `jsonFile` was given; undefined when the content is damaged, or of another version. */
export function parseJsonFile(content: Buffer): Record<string, unknown> | undefined {
  let value: unknown
  try {
    value = JSON.parse(content.toString('utf8'))
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { crc, ...sealed } = value as Record<string, unknown>
  const isSound = sealed.version === VERSION ? crc === checksumOf(sealed) : sealed.version === VERSION_WITHOUT_CRC && crc === undefined
  return isSound ? sealed : undefined
}

/** What to say of content that `parseJsonFile` does not take, or whose fields cannot be right. */
export function whyUnreadable(content: Buffer): string {
  const version = /^\{"version":(\d{1,9}),/.exec(content.toString('latin1'))?.[1]
  if (version !== undefined && Number(version) > VERSION)
    return `says that it is of version ${version}, this tidemark reads up to ${VERSION}: it is of a newer one, or damaged`
  return 'is damaged, or of another version'
}

function checksumOf(fields: object): number {
  return crc32c(Buffer.from(JSON.stringify(fields)))
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
