/** The names of the files of a partition. */

export const LOG_SUFFIX = '.log'
export const OFFSET_INDEX_SUFFIX = '.index'
export const TIME_INDEX_SUFFIX = '.timeindex'
export const SNAPSHOT_SUFFIX = '.snapshot'
/** A compacted segment that is being written: not part of the log, whatever is in it. */
export const CLEANED_SUFFIX = '.cleaned'
/** Deleted, but perhaps still being read; removed later, or at the next start. */
export const DELETED_SUFFIX = '.deleted'
/** A directory of an earlier topic of the name, which had to make room. */
export const STRAY_SUFFIX = '.stray'

/** With what is added to it the name of a directory must stay one. */
const ASIDE_NAME_MAX_LENGTH = 200

/** The name of a directory that is put out of the way; `label` tells it from others of the same name. */
export function asideName(name: string, label: string, suffix: string): string {
  return `${name.slice(0, ASIDE_NAME_MAX_LENGTH)}.${label}${suffix}`
}

/** The files of a segment; the indexes can be made again from the first. */
export const SEGMENT_SUFFIXES: readonly string[] = [LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX]

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

/** Which segment a file is of. */
export interface SegmentId {
  readonly baseOffset: number
  /** How often compaction has written it: no two files of a log ever have the same name and different bytes. */
  readonly generation: number
}

/** `<offset>.log`, and from the first compaction on `<offset>.<generation>.log`. */
export function segmentName({ baseOffset, generation }: SegmentId, suffix: string): string {
  return offsetName(baseOffset, generation === 0 ? suffix : `.${generation}${suffix}`)
}

/** The segment of a name that `segmentName` made; undefined for any other. */
export function segmentOfName(name: string, suffix: string): SegmentId | undefined {
  if (!name.endsWith(suffix)) return undefined
  const match = /^(\d{20})(?:\.([1-9]\d{0,14}))?$/.exec(name.slice(0, -suffix.length))
  return match === null ? undefined : { baseOffset: Number(match[1]), generation: Number(match[2] ?? 0) }
}

export function partitionDirectoryName(topic: string, partition: number): string {
  return `${topic}-${partition}`
}
