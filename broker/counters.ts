/**
 * What the node counts as it works: plain numbers on the hot path, read by
 * `/metrics` when someone asks.
 */

/** Upper bounds of the latency buckets, in milliseconds; the last bucket is everything above. */
export const LATENCY_BUCKETS_MS: readonly number[] = [0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000]

/** A histogram with fixed buckets; observing allocates nothing. */
export class LatencyHistogram {
  /** `counts[i]`: observations in bucket i alone, not cumulated. */
  readonly counts: Float64Array = new Float64Array(LATENCY_BUCKETS_MS.length + 1)
  sumMs = 0
  count = 0

  observe(ms: number): void {
    let bucket = 0
    while (bucket < LATENCY_BUCKETS_MS.length && ms > (LATENCY_BUCKETS_MS[bucket] as number)) bucket++
    this.counts[bucket] = (this.counts[bucket] as number) + 1
    this.sumMs += ms
    this.count++
  }
}

export class CompactionCounters {
  runCount = 0
  failedCount = 0
  readBytes = 0
  writtenBytes = 0
  removedRecordCount = 0
  totalMs = 0
}

export class Counters {
  producedBytes = 0
  producedBatchCount = 0
  produceFailedCount = 0
  fetchedBytes = 0
  coldReadCount = 0
  retentionDeletedSegmentCount = 0
  readonly compaction: CompactionCounters = new CompactionCounters()
  scrubbedBytes = 0
  scrubPassCount = 0
  readonly produceLatency: LatencyHistogram = new LatencyHistogram()
}
