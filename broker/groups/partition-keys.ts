/** A partition by the id of its topic, as one text: the key of maps and sets. Pure. */

/** `<topic id>/<partition>`. */
export type PartitionKey = string

/** Topic ids have 22 characters. */
export const TOPIC_ID_LENGTH = 22

export function partitionKey(topicId: string, partition: number): PartitionKey {
  return `${topicId}/${partition}`
}

export function topicIdOf(key: PartitionKey): string {
  return key.slice(0, TOPIC_ID_LENGTH)
}

export function partitionOf(key: PartitionKey): number {
  return Number(key.slice(TOPIC_ID_LENGTH + 1))
}
