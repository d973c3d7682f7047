/** Which of the files of a partition are its log: what the checkpoint names, and what was begun after it. */
import { TidemarkError } from '../protocol/errors.ts'
import { isTemporary, readSmallFile } from '../runtime/atomic-file.ts'
import { type Checkpoint, NEVER_COMPACTED, parseCheckpoint } from './checkpoint.ts'
import {
  CHECKPOINT_FILE,
  CLEANED_SUFFIX,
  DELETED_SUFFIX,
  LOG_SUFFIX,
  SEGMENT_SUFFIXES,
  type SegmentId,
  segmentName,
  segmentOfName,
} from './file-names.ts'
import { Segment, type SegmentParts } from './segment.ts'

/** Undefined when there is none. */
export async function readCheckpoint(parts: SegmentParts, directory: string): Promise<Checkpoint | undefined> {
  const path = `${directory}/${CHECKPOINT_FILE}`
  const content = await readSmallFile(parts.files, path)
  return content && parseCheckpoint(content, path)
}

/** A partition too young for a checkpoint, or one whose checkpoint was moved away: nothing is vouched for. */
export function withoutCheckpoint(names: readonly string[]): Checkpoint {
  const ids = names.flatMap((name) => segmentOfName(name, LOG_SUFFIX) ?? [])
  const first = ids.length === 0 ? 0 : Math.min(...ids.map(({ baseOffset }) => baseOffset))
  // Compaction leaves gaps; how far they reach nobody knows any more.
  const sparseBelow = ids.some(({ generation }) => generation > 0) ? Number.MAX_SAFE_INTEGER : 0
  const compaction = { ...NEVER_COMPACTED, sparseBelow }
  return { logStartOffset: first, recoveryOffset: first, activeSinceMs: 0, segments: [], compaction }
}

/** By base offset, the segments the checkpoint names and those begun after it. */
export function chooseSegments(names: readonly string[], start: Checkpoint): ReadonlyMap<number, SegmentId> {
  const marked = new Set(start.segments.map(({ baseOffset }) => baseOffset))
  const chosen = new Map<number, SegmentId>(start.segments.map((mark) => [mark.baseOffset, mark]))
  for (const one of names.flatMap((name) => segmentOfName(name, LOG_SUFFIX) ?? [])) {
    // Begun after the checkpoint. Without one, the latest that compaction made of it.
    const isLater = one.baseOffset >= start.recoveryOffset && !marked.has(one.baseOffset)
    if (isLater && one.generation >= (chosen.get(one.baseOffset)?.generation ?? 0)) chosen.set(one.baseOffset, one)
  }
  return new Map([...chosen].sort(([a], [b]) => a - b))
}

/** A leftover of work that was interrupted: not part of the log, and removed at the next start. */
export function isStray(name: string, chosen: ReadonlyMap<number, SegmentId>): boolean {
  if (isTemporary(name) || name.endsWith(CLEANED_SUFFIX) || name.endsWith(DELETED_SUFFIX)) return true
  const [id] = SEGMENT_SUFFIXES.flatMap((suffix) => segmentOfName(name, suffix) ?? [])
  return id !== undefined && chosen.get(id.baseOffset)?.generation !== id.generation
}

/** The segments of a log, in order, with what they have on disk. Throws `CORRUPT_LOG` when one that the checkpoint names is not there as it was. */
export async function findSegments(
  parts: SegmentParts,
  directory: string,
  names: readonly string[],
  start: Checkpoint,
): Promise<{ segments: Segment[]; strays: string[] }> {
  const present = new Set(names)
  const missing = start.segments.find((mark) => !present.has(segmentName(mark, LOG_SUFFIX)))
  if (missing !== undefined)
    throw damaged(`${directory}/${segmentName(missing, LOG_SUFFIX)} is missing, ${missing.sizeBytes} bytes of it were durable`)
  const sizes = new Map(start.segments.map(({ baseOffset, sizeBytes }) => [baseOffset, sizeBytes]))
  const chosen = chooseSegments(names, start)
  const segments = await Promise.all(
    [...chosen.values()].map(async ({ baseOffset, generation }) => {
      const segment = new Segment(parts, directory, baseOffset, 0, generation)
      const fileBytes = (await parts.files.stat(segment.path))?.sizeBytes ?? 0
      const durableBytes = sizes.get(baseOffset) ?? 0
      if (fileBytes < durableBytes) throw damaged(`${segment.path} has ${fileBytes} bytes, ${durableBytes} were durable`)
      // Of the active segment, and those begun later, all that is there; of a sealed one what it had when it was sealed.
      segment.sizeBytes = baseOffset >= (start.segments.at(-1)?.baseOffset ?? 0) ? fileBytes : durableBytes
      return segment
    }),
  )
  return { segments, strays: names.filter((name) => isStray(name, chosen)).map((name) => `${directory}/${name}`) }
}

export function damaged(what: string): TidemarkError {
  return new TidemarkError(
    'CORRUPT_LOG',
    `${what}. Nothing was changed. \`tidemark log verify\` tells more; put the file back from a backup, or delete the topic`,
  )
}
