/**
 * A disk that was replaced by an earlier image of itself, such as a backup, has forgotten what its node promised since. Pure.
 *
 * A directory counts how often it was started, durably, before its node says so. One that comes again and was started no more often
 * than is known of it cannot be the one of which that is known. An image of the present run is not told by that: it has counted
 * all its starts. What it lacks its leader finds out, by what it fetches.
 */
import type { NodeMetadata } from './image.ts'

/** A start of a data directory. */
export interface DiskRun {
  readonly directoryId: string
  /** 0: the node does not count. */
  readonly starts: number
  readonly incarnationId: string
}

export function isOlderDisk(known: NodeMetadata, { directoryId, starts, incarnationId }: DiskRun): boolean {
  if (starts === 0 || directoryId !== known.directoryId) return false
  return starts < known.starts || (starts === known.starts && incarnationId !== known.incarnationId)
}
