/** The names of the files of a partition. */

export const LOG_SUFFIX = '.log'
export const OFFSET_INDEX_SUFFIX = '.index'
export const TIME_INDEX_SUFFIX = '.timeindex'
export const SNAPSHOT_SUFFIX = '.snapshot'
/** Deleted, but perhaps still being read; removed later, or at the next start. */
export const DELETED_SUFFIX = '.deleted'

export const PARTITION_FILE = 'partition.json'
export const CHECKPOINT_FILE = 'checkpoint.json'
export const LEADER_EPOCHS_FILE = 'leader-epoch-checkpoint'

/** Twenty digits, so that names sort as their offsets. */
export function offsetName(offset: number, suffix: string): string {
  return `${String(offset).padStart(20, '0')}${suffix}`
}

/** The offset of a name that `offsetName` made; undefined for any other. */
export function offsetOfName(name: string, suffix: string): number | undefined {
  if (!name.endsWith(suffix)) return undefined
  const digits = name.slice(0, -suffix.length)
  return /^\d{20}$/.test(digits) ? Number(digits) : undefined
}

export function partitionDirectoryName(topic: string, partition: number): string {
  return `${topic}-${partition}`
}
