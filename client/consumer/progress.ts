/** The watchdog: there is something to read, the application asks for it, and nothing comes. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { PartitionFetch } from './partition-fetch.ts'

/** The first partition that has stalled, as an error. Times are monotonic; `askingSinceMs`: since when the application waits. */
export function findStalled(
  partitions: Iterable<PartitionFetch>,
  times: { readonly nowMs: number; readonly askingSinceMs: number; readonly stallTimeoutMs: number },
): TidemarkError | undefined {
  const { nowMs, askingSinceMs, stallTimeoutMs } = times
  for (const partition of partitions) {
    const { topic, position, highWatermark, endOffset, isPaused, failureCount } = partition
    const isBehind = position < Math.min(highWatermark, endOffset) || failureCount > 0
    if (!isBehind || isPaused) partition.progressMs = nowMs
    if (nowMs - Math.max(partition.progressMs, askingSinceMs) <= stallTimeoutMs) continue
    const where = `${topic}-${partition.partition} stands at offset ${position} of ${highWatermark}`
    return new TidemarkError('STALLED', `${where} and nothing came for ${stallTimeoutMs} ms`)
  }
  return undefined
}
