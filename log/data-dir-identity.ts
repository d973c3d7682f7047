/** Whose a data directory is, and how it was left: two small files. */
import { TidemarkError } from '../protocol/errors.ts'
import { isUuid } from '../protocol/ids.ts'
import { readSmallFile, writeFileAtomic } from '../runtime/atomic-file.ts'
import type { Files } from '../runtime/runtime.ts'
import { jsonFile, parseJsonFile, whyUnreadable } from './data-dir-files.ts'

const IDENTITY_FILE = 'meta.properties.json'
const CLEAN_SHUTDOWN_FILE = 'clean-shutdown'

export interface DataDirIdentity {
  /** Empty until the node has been in a cluster. */
  readonly clusterId: string
  readonly nodeId: number
  /** Made once; a wiped disk is another directory. */
  readonly directoryId: string
  /** How often it was taken into use. */
  readonly starts: number
  /** The directory that this was found to be an older image of, and ceased to be; empty: none. */
  readonly imageOf: string
}

/** Undefined in a new directory. Throws `DATA_DIR_INVALID`. */
export async function readIdentity(files: Files, directory: string): Promise<DataDirIdentity | undefined> {
  const path = `${directory}/${IDENTITY_FILE}`
  const content = await readSmallFile(files, path)
  if (content === undefined) return undefined
  const { clusterId, nodeId, directoryId, starts = 0, imageOf = '' } = parseJsonFile(content) ?? {}
  const isSound =
    typeof clusterId === 'string' &&
    (clusterId === '' || isUuid(clusterId)) &&
    typeof directoryId === 'string' &&
    typeof nodeId === 'number' &&
    typeof starts === 'number' &&
    Number.isSafeInteger(starts) &&
    typeof imageOf === 'string'
  if (!isSound) throw new TidemarkError('DATA_DIR_INVALID', `${path} ${whyUnreadable(content)}`)
  return { clusterId, nodeId, directoryId, starts, imageOf }
}

export async function writeIdentity(files: Files, directory: string, identity: DataDirIdentity): Promise<void> {
  await writeFileAtomic(files, directory, IDENTITY_FILE, jsonFile({ ...identity }))
}

/** How the directory was left, and takes the mark of it away: gone for certain before the first write, so that an unclean end never looks clean. */
export async function takeCleanShutdown(
  files: Files,
  directory: string,
): Promise<{ readonly wasClean: boolean; readonly nodeEpoch: number }> {
  const path = `${directory}/${CLEAN_SHUTDOWN_FILE}`
  const content = await readSmallFile(files, path)
  await files.remove(path)
  await files.syncDirectory(directory)
  // A mark that cannot be read is of no epoch: as after an unclean stop, no replica passes for complete.
  const { nodeEpoch } = (content && parseJsonFile(content)) ?? {}
  return { wasClean: content !== undefined, nodeEpoch: Number.isSafeInteger(nodeEpoch) ? (nodeEpoch as number) : 0 }
}

/** Everything is on disk, and was the work of the node while it had `nodeEpoch`. */
export async function markCleanShutdown(files: Files, directory: string, nodeEpoch: number): Promise<void> {
  await writeFileAtomic(files, directory, CLEAN_SHUTDOWN_FILE, jsonFile({ nodeEpoch }))
}
