/** What a partition turns requests away with: each names the partition and the values that decided. */
import type { PartitionMetadata } from '../controller/metadata/image.ts'
import { type LeaderHint, TidemarkError } from '../protocol/errors.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

export function notLeader(
  where: string,
  nodeId: number,
  { leader, leaderEpoch }: PartitionMetadata,
  address: Address | undefined,
): TidemarkError {
  if (leader < 0)
    return new TidemarkError('LEADER_NOT_AVAILABLE', `${where} has no leader at the moment`, { retryAfterMs: 20, outcome: 'failed' })
  if (leader === nodeId)
    return new TidemarkError('LEADER_NOT_AVAILABLE', `node ${nodeId} is about to lead ${where}`, { retryAfterMs: 50, outcome: 'failed' })
  const hint: LeaderHint | undefined = address && { nodeId: leader, leaderEpoch, host: address.host, port: address.port }
  return new TidemarkError('NOT_LEADER', `node ${leader} leads ${where}, not node ${nodeId}`, {
    outcome: 'failed',
    ...(hint && { leader: hint }),
  })
}

/** The copy here is damaged, and another replica is about to lead. */
export function givenUp(where: string): TidemarkError {
  return new TidemarkError('LEADER_NOT_AVAILABLE', `${where} is damaged on this node, another replica is about to lead it`, {
    retryAfterMs: 50,
    outcome: 'failed',
  })
}

export function wrongEpoch(where: string, asked: number, present: number): TidemarkError {
  const code = asked < present ? 'FENCED_LEADER_EPOCH' : 'UNKNOWN_LEADER_EPOCH'
  return new TidemarkError(code, `the request knows leader epoch ${asked} of ${where}, it is ${present}`, { outcome: 'failed' })
}

export function noReplica(where: string, nodeId: number): TidemarkError {
  return new TidemarkError('INELIGIBLE_REPLICA', `node ${nodeId} has no replica of ${where}`)
}

/** The same, of a request whose records were appended: they may yet be committed. */
export function afterAppend({ code, message, leader }: TidemarkError): TidemarkError {
  return new TidemarkError(code, message, { leader, outcome: 'indeterminate' })
}

export function watermarkUnknown(where: string, nodeId: number): TidemarkError {
  return new TidemarkError(
    'OFFSET_NOT_AVAILABLE',
    `node ${nodeId} leads ${where} since a moment, and does not know yet how far it is committed`,
    {
      retryAfterMs: 20,
      outcome: 'failed',
    },
  )
}

export function leadershipUnknown(where: string, nodeId: number): TidemarkError {
  return new TidemarkError(
    'OFFSET_NOT_AVAILABLE',
    `node ${nodeId} cannot find out whether it still leads ${where}, whose end it would have to know`,
    {
      retryAfterMs: 100,
      outcome: 'failed',
    },
  )
}

export function tooFew(where: string, inSync: number, minIsr: number): TidemarkError {
  return new TidemarkError('NOT_ENOUGH_REPLICAS', `${where} has ${inSync} replicas in sync, ${minIsr} are asked for`, { outcome: 'failed' })
}

export function tooFewAfterAppend(where: string, inSync: number, minIsr: number): TidemarkError {
  const message = `${where} has ${inSync} replicas in sync, ${minIsr} are asked for; the records were written and may yet be committed`
  return new TidemarkError('NOT_ENOUGH_REPLICAS_AFTER_APPEND', message, { outcome: 'indeterminate' })
}

export function timedOut(where: string): TidemarkError {
  return new TidemarkError('REQUEST_TIMED_OUT', `${where} did not commit the records in time; they may still be committed`, {
    outcome: 'indeterminate',
  })
}

/** What the metadata knows of a partition that is not on this node. */
export interface KnownElsewhere {
  readonly topicId: string
  readonly leader: number
  readonly leaderEpoch: number
}

export function notHere(asked: {
  readonly topic: string
  readonly partition: number
  readonly topicId: string | undefined
  readonly nodeId: number
  readonly known: KnownElsewhere | undefined
  /** Of its leader. */
  readonly address: Address | undefined
  /** Other partitions of the topic are on this node. */
  readonly hasTopic: boolean
}): TidemarkError {
  const { topic, partition, topicId, nodeId, known, address, hasTopic } = asked
  if (known !== undefined && (topicId === undefined || topicId === known.topicId)) {
    return new TidemarkError('NOT_LEADER', `${topic}-${partition} is not on node ${nodeId}`, {
      outcome: 'failed',
      leader: address && { nodeId: known.leader, leaderEpoch: known.leaderEpoch, ...address },
    })
  }
  if (hasTopic) return new TidemarkError('UNKNOWN_PARTITION', `topic ${topic} has no partition ${partition}`, { outcome: 'failed' })
  // Who knows the topic by its id has seen it: this node has yet to hear of it, or it is gone.
  const code = topicId === undefined ? 'UNKNOWN_TOPIC' : 'UNKNOWN_TOPIC_ID'
  return new TidemarkError(code, `no topic named ${JSON.stringify(topic)}`, { outcome: 'failed' })
}
