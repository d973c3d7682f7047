/**
 * Topics that tidemark keeps for itself. Anyone may read them, and create them before they are needed, to say how many
 * partitions and replicas they shall have; their settings are fixed, and nobody else writes to them.
 */

/** How far consumer groups have come, and who is in them. */
export const CONSUMER_OFFSETS_TOPIC = '__consumer_offsets'

const MIB = 1024 ** 2

/** The largest batch of `__consumer_offsets`: one change of a group is one batch, so that it is seen whole or not at all. */
export const CONSUMER_OFFSETS_BATCH_BYTES_MAX: number = 8 * MIB

/** By name, the settings each has. */
export const INTERNAL_TOPICS: ReadonlyMap<string, Readonly<Record<string, string>>> = new Map([
  [
    CONSUMER_OFFSETS_TOPIC,
    {
      'cleanup.policy': 'compact',
      durability: 'fsync',
      'max.message.bytes': '8MiB',
      'retention.ms': 'unlimited',
      // A new coordinator reads all there is: small segments are compacted early.
      'segment.bytes': '16MiB',
    },
  ],
])

export function isInternalTopic(name: string): boolean {
  return INTERNAL_TOPICS.has(name)
}
