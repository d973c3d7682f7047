/**
 * The identities of the system.
 *
 * Offsets are plain numbers inside tidemark and `bigint` at the client's
 * surface: a partition holds fewer than 2^53 records (at a million a second that is
 * 285 years), and the codecs refuse larger values.
 */

/** The largest offset a partition may hold (exclusive bound of all arithmetic on offsets). */
export const OFFSET_MAX: number = Number.MAX_SAFE_INTEGER

/** A producer without idempotence. */
export const NO_PRODUCER_ID = -1
export const NO_PRODUCER_EPOCH = -1
export const NO_SEQUENCE = -1

/** Batches of a producer that a partition remembers, so that it knows a retry; a producer has no more in flight there. */
export const DUPLICATE_WINDOW = 16

/** Stands for "the sender does not know the leader epoch"; switches the epoch check off. */
export const NO_LEADER_EPOCH = -1

/** One partition of a topic, by name. Names are for people and requests; the topic id decides. */
export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** A node of the cluster as clients see it: where to dial. */
export interface NodeAddress {
  readonly nodeId: number
  readonly host: string
  readonly port: number
}

/** 128 random bits as 22 characters of URL-safe base64, the form of topic, cluster and directory ids. */
export function encodeUuid(bytes: Buffer): string {
  return bytes.toString('base64url')
}

/** True when `text` is a well-formed id as `encodeUuid` makes it. */
export function isUuid(text: string): boolean {
  return /^[A-Za-z0-9_-]{22}$/.test(text)
}
