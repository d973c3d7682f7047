/** What a history may show that must never be: the anomalies of Jepsen's workload for Kafka, as far as a log without transactions can have them, and what topics promise beside. */

export const ANOMALIES = {
  'inconsistent-offsets': 'one offset, two values',
  'lost-write': 'acknowledged, or read by somebody, below the end of the partition, and not there in the end',
  'lost-update': 'the newest acknowledged value of a key is not there in the end, and no newer one in its place',
  'early-deletion': 'less of a partition is kept than was promised',
  'lost-change': 'a topic is not as it was decided, or an answer about it cannot be true',
  unseen: 'acknowledged, and beyond what can be read in the end',
  duplicate: 'one value of an idempotent producer at two offsets',
  'aborted-read': 'the value of a send that certainly failed is there',
  phantom: 'a value that nobody sent',
  'poll-skip': 'a consumer or a group passes over a record',
  'nonmonotonic-poll': 'a consumer goes back, and was given nothing anew',
  'int-poll-skip': 'the same within one poll',
  'int-nonmonotonic-poll': 'the same within one poll',
  'nonmonotonic-send': 'a send that began after another was acknowledged got a lower offset',
  'int-nonmonotonic-send': 'an idempotent producer sent something later and it stands earlier',
  'offset-regress': 'the start or the end of a partition, or what a group has committed, goes back',
  'double-ownership': 'two members have one partition at the same time',
  stall: 'no progress although everything is well again',
  'wrong-error': 'a client ended, or a call failed, with something that no fault explains',
} as const

export type AnomalyKind = keyof typeof ANOMALIES

export interface Anomaly {
  readonly kind: AnomalyKind
  readonly what: string
}
