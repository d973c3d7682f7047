/**
 * Every setting of a topic, in one table. Validation, `topic create`, `config
 * describe` and docs/configuration.md are all made from it.
 *
 * Values travel and are stored as text in the form the user wrote; `TopicConfig` is
 * the parsed and validated whole.
 */
import { TidemarkError } from './errors.ts'
import { formatDuration, formatSize, parseDuration, parseSize } from './units.ts'

export type Durability = 'fsync' | 'replicated' | 'none'
export type PartitionerName = 'murmur3' | 'murmur2'
export type TimestampType = 'create' | 'append'
export type CleanupPolicy = 'delete' | 'compact' | 'delete,compact' | 'compact,delete'

/** All settings of a topic, parsed. Times in milliseconds, sizes in bytes; `Infinity` stands for "no limit". */
export interface TopicConfig {
  readonly partitioner: PartitionerName
  readonly durability: Durability
  readonly minInsyncReplicas: number
  readonly maxMessageBytes: number
  readonly cleanupPolicy: CleanupPolicy
  readonly minCleanableDirtyRatio: number
  readonly deleteRetentionMs: number
  readonly minCompactionLagMs: number
  readonly maxCompactionLagMs: number
  readonly retentionMs: number
  readonly retentionBytes: number
  readonly segmentBytes: number
  readonly segmentMs: number
  readonly indexIntervalBytes: number
  readonly timestampType: TimestampType
  readonly timestampAfterMaxMs: number
  readonly fileDeleteDelayMs: number
}

type SettingType =
  | { readonly kind: 'duration'; readonly min: number; readonly max: number; readonly unlimited?: boolean }
  | { readonly kind: 'size'; readonly min: number; readonly max: number; readonly unlimited?: boolean }
  | { readonly kind: 'integer'; readonly min: number; readonly max: number }
  | { readonly kind: 'ratio'; readonly min: number; readonly max: number }
  | { readonly kind: 'choice'; readonly values: readonly string[] }

export interface TopicSetting {
  /** The field of `TopicConfig` it fills. */
  readonly field: keyof TopicConfig
  readonly type: SettingType
  /** In the form a user would write. */
  readonly defaultText: string
  /** May not change once the topic exists. */
  readonly fixed?: boolean
  readonly text: string
}

const DAY_MS = 86_400_000
const YEARS_MS = 1000 * 365 * DAY_MS
const MIB = 1024 ** 2

export const TOPIC_SETTINGS: Readonly<Record<string, TopicSetting>> = {
  partitioner: {
    field: 'partitioner',
    type: { kind: 'choice', values: ['murmur3', 'murmur2'] },
    defaultText: 'murmur3',
    fixed: true,
    text: "The hash that picks the partition of a key. All clients follow it. murmur2 is what Apache Kafka's own clients use.",
  },
  durability: {
    field: 'durability',
    type: { kind: 'choice', values: ['fsync', 'replicated', 'none'] },
    defaultText: 'fsync',
    text: "What an acknowledgement means. fsync: on disk on every replica that counts, nothing is lost while one such disk survives. replicated: in the page cache of every replica that counts, synced within a second; lost when all those machines lose power together. none: in the leader's memory; any crash loses the tail.",
  },
  'min.insync.replicas': {
    field: 'minInsyncReplicas',
    type: { kind: 'integer', min: 1, max: 100 },
    defaultText: '1',
    text: 'With fewer replicas in sync than this, writes are refused.',
  },
  'max.message.bytes': {
    field: 'maxMessageBytes',
    type: { kind: 'size', min: 1024, max: 64 * MIB },
    defaultText: '1MiB',
    text: 'The largest record batch accepted, as sent (after compression).',
  },
  'cleanup.policy': {
    field: 'cleanupPolicy',
    type: { kind: 'choice', values: ['delete', 'compact', 'delete,compact', 'compact,delete'] },
    defaultText: 'delete',
    text: 'What happens to old data. delete: whole segments go when they pass retention.ms or retention.bytes. compact: of each key the newest record stays, and every record needs a key. Both may be named.',
  },
  'min.cleanable.dirty.ratio': {
    field: 'minCleanableDirtyRatio',
    type: { kind: 'ratio', min: 0, max: 1 },
    defaultText: '0.5',
    text: 'A log is compacted when this share of it, by bytes, was written since the last time. Smaller: fewer superseded records, more work.',
  },
  'delete.retention.ms': {
    field: 'deleteRetentionMs',
    type: { kind: 'duration', min: 0, max: YEARS_MS },
    defaultText: '1d',
    text: 'How long a record without a value, which deletes its key, stays in a compacted log. Whoever reads the log from its start within this time sees every deletion.',
  },
  'min.compaction.lag.ms': {
    field: 'minCompactionLagMs',
    type: { kind: 'duration', min: 0, max: YEARS_MS },
    defaultText: '0ms',
    text: 'Records younger than this are not compacted away.',
  },
  'max.compaction.lag.ms': {
    field: 'maxCompactionLagMs',
    type: { kind: 'duration', min: 1000, max: YEARS_MS, unlimited: true },
    defaultText: 'unlimited',
    text: 'A log with uncompacted records older than this is compacted whatever its dirty ratio, and its active segment is closed by then.',
  },
  'retention.ms': {
    field: 'retentionMs',
    type: { kind: 'duration', min: 1, max: YEARS_MS, unlimited: true },
    defaultText: '7d',
    text: 'Records older than this may be deleted. unlimited: never by age.',
  },
  'retention.bytes': {
    field: 'retentionBytes',
    type: { kind: 'size', min: 1, max: Number.MAX_SAFE_INTEGER, unlimited: true },
    defaultText: 'unlimited',
    text: 'The size a partition may reach before its oldest segments are deleted. unlimited: never by size.',
  },
  'segment.bytes': {
    field: 'segmentBytes',
    type: { kind: 'size', min: 64 * 1024, max: 2 ** 31 - 1 },
    defaultText: '256MiB',
    text: 'A log continues in a new segment file when the present one would grow beyond this. Retention works on whole segments.',
  },
  'segment.ms': {
    field: 'segmentMs',
    type: { kind: 'duration', min: 1000, max: YEARS_MS },
    defaultText: '7d',
    text: 'A log continues in a new segment file when the oldest record of the present one is older than this.',
  },
  'index.interval.bytes': {
    field: 'indexIntervalBytes',
    type: { kind: 'size', min: 512, max: MIB },
    defaultText: '4KiB',
    text: 'One index entry per this many bytes of log. Smaller: faster look-ups, larger indexes.',
  },
  'message.timestamp.type': {
    field: 'timestampType',
    type: { kind: 'choice', values: ['create', 'append'] },
    defaultText: 'create',
    text: "create: the producer's timestamp stays. append: the leader stamps its own clock on every batch.",
  },
  'message.timestamp.after.max.ms': {
    field: 'timestampAfterMaxMs',
    type: { kind: 'duration', min: 0, max: YEARS_MS, unlimited: true },
    defaultText: '1h',
    text: "How far in the future a producer's timestamp may lie; later ones are refused, because they would keep data from expiring.",
  },
  'file.delete.delay.ms': {
    field: 'fileDeleteDelayMs',
    type: { kind: 'duration', min: 0, max: DAY_MS },
    defaultText: '1m',
    text: 'How long the files of deleted segments stay on disk under another name, so that reads under way can finish.',
  },
}

/** The newest record of each key stays. */
export function isCompacted({ cleanupPolicy }: Pick<TopicConfig, 'cleanupPolicy'>): boolean {
  return cleanupPolicy !== 'delete'
}

/** Old segments go by age and size. */
export function isRetentionLimited({ cleanupPolicy }: Pick<TopicConfig, 'cleanupPolicy'>): boolean {
  return cleanupPolicy !== 'compact'
}

/** The word for "no limit". */
export const UNLIMITED = 'unlimited'

/**
 * The settings of a topic from the texts that differ from the default.
 * Throws `INVALID_CONFIG` naming the key, the value and what is allowed.
 */
export function parseTopicConfig(texts: Readonly<Record<string, string>>): TopicConfig {
  for (const key of Object.keys(texts)) topicSetting(key)
  const fields = Object.entries(TOPIC_SETTINGS).map(([key, setting]) => [
    setting.field,
    parseSetting(key, setting, texts[key] ?? setting.defaultText),
  ])
  return Object.freeze(Object.fromEntries(fields) as unknown as TopicConfig)
}

export const DEFAULT_TOPIC_CONFIG: TopicConfig = parseTopicConfig({})

/** The table's entry for `key`. Throws `INVALID_CONFIG` with the nearest known key. */
export function topicSetting(key: string): TopicSetting {
  const setting = Object.hasOwn(TOPIC_SETTINGS, key) ? TOPIC_SETTINGS[key] : undefined
  if (setting !== undefined) return setting
  const nearest = nearestName(key, Object.keys(TOPIC_SETTINGS))
  throw new TidemarkError(
    'INVALID_CONFIG',
    `unknown topic setting ${JSON.stringify(key)}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`,
  )
}

function parseSetting(key: string, setting: TopicSetting, text: string): string | number {
  const type = setting.type
  switch (type.kind) {
    case 'choice':
      if (!type.values.includes(text))
        throw new TidemarkError('INVALID_CONFIG', `${key} is ${JSON.stringify(text)}, expected one of ${type.values.join(', ')}`)
      return text
    case 'integer':
      if (!/^\d+$/.test(text)) throw new TidemarkError('INVALID_CONFIG', `${key} is ${JSON.stringify(text)}, expected a whole number`)
      return inRange(key, Number(text), type, String)
    case 'ratio':
      if (!/^\d+(\.\d+)?$/.test(text))
        throw new TidemarkError('INVALID_CONFIG', `${key} is ${JSON.stringify(text)}, expected a number such as 0.5`)
      return inRange(key, Number(text), type, String)
    case 'duration':
      if (type.unlimited && isUnlimited(text)) return Number.POSITIVE_INFINITY
      return inRange(key, parseDuration(text, key), type, formatDuration)
    case 'size':
      if (type.unlimited && isUnlimited(text)) return Number.POSITIVE_INFINITY
      return inRange(key, parseSize(text, key), type, formatSize)
  }
}

/** Kafka writes -1. */
function isUnlimited(text: string): boolean {
  return text === UNLIMITED || text === '-1'
}

function inRange(
  key: string,
  value: number,
  range: { readonly min: number; readonly max: number },
  format: (value: number) => string,
): number {
  if (value < range.min || value > range.max) {
    throw new TidemarkError('INVALID_CONFIG', `${key} is ${format(value)}, allowed is ${format(range.min)} to ${format(range.max)}`)
  }
  return value
}

/** No name is longer, and whoever sends a longer one has not mistyped it: comparing takes time in proportion to its length. */
const TYPED_LENGTH_MAX = 100

/** The name a person probably meant: the nearest by edit distance, if it is near at all. */
export function nearestName(wrong: string, names: readonly string[]): string | undefined {
  if (wrong.length > TYPED_LENGTH_MAX) return undefined
  let nearest: string | undefined
  let farthest = Math.max(2, Math.floor(wrong.length / 3))
  for (const name of names) {
    // Two names are at least as far apart as their lengths are.
    const distance = Math.abs(name.length - wrong.length) > farthest ? Number.POSITIVE_INFINITY : editDistance(wrong, name)
    if (distance > farthest) continue
    nearest = name
    farthest = distance - 1
  }
  return nearest
}

/** Row by row in one array. */
function editDistance(a: string, b: string): number {
  const row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let line = 1; line <= a.length; line++) {
    let aboveLeft = line - 1
    row[0] = line
    for (let column = 1; column <= b.length; column++) {
      const above = row[column] ?? 0
      const substitution = aboveLeft + (a.charCodeAt(line - 1) === b.charCodeAt(column - 1) ? 0 : 1)
      row[column] = Math.min(substitution, above + 1, (row[column - 1] ?? 0) + 1)
      aboveLeft = above
    }
  }
  return row[b.length] ?? 0
}
