/** The topics of a run. Each can show something that the others cannot. */

/** Everything that is sent is there in the end. */
export const TOPIC = 'chaos'
export const PARTITIONS = 6

/** Compacted all the time: of each key the newest record stays. */
export const LATEST_TOPIC = 'chaos-latest'
export const LATEST_CONFIGS = {
  'cleanup.policy': 'compact',
  'segment.bytes': '64KiB',
  'min.cleanable.dirty.ratio': '0.1',
  'max.compaction.lag.ms': '5s',
}

/** Cut at its start all the time: the newest part of this size stays. */
export const RECENT_TOPIC = 'chaos-recent'
export const RECENT_BYTES = 512 * 1024
export const RECENT_CONFIGS = { 'retention.bytes': String(RECENT_BYTES), 'segment.bytes': '64KiB' }

/** Of the two: how many bytes the value of a record has, and how many the record may take on disk at most, in a batch of its own. */
export const KEPT_VALUE_BYTES = 1024
export const KEPT_RECORD_BYTES_MAX = KEPT_VALUE_BYTES + 200

/** Topics that come, change and go, and have no records. */
export const PASSING_PREFIX = 'chaos-passing-'
/** Each change gives it another value. */
export const PASSING_SETTING = 'retention.ms'
