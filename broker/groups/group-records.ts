/** The records of groups as keys and values of `__consumer_offsets`. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import {
  GroupRecordKey,
  GroupRecordValue,
  type HeldPartitions,
  MemberRecordValue,
  OffsetRecordValue,
} from '../../protocol/gen/tidemark/v1/group_records.ts'
import { ASSIGNOR_NAMES } from './assignor.ts'
import type { GroupRecord, Held, Member, StoredOffset } from './group-state.ts'
import { type PartitionKey, partitionKey, partitionOf, TOPIC_ID_LENGTH, topicIdOf } from './partition-keys.ts'

export interface EncodedRecord {
  readonly key: Buffer
  /** Null: what the key names is gone. */
  readonly value: Buffer | null
}

export function encodeRecord(record: GroupRecord): EncodedRecord {
  return { key: keyOf(record), value: valueOf(record) }
}

/** Throws `CORRUPT_LOG` for what no version of this code can have written. */
export function decodeRecord(key: Buffer | null, value: Buffer | null): GroupRecord {
  try {
    return decode(GroupRecordKey.decode(key ?? Buffer.alloc(0)), value)
  } catch (error) {
    if (TidemarkError.is(error)) throw error
    throw new TidemarkError('CORRUPT_LOG', `a record of a group cannot be read: ${String(error)}`, { cause: error })
  }
}

function keyOf(record: GroupRecord): Buffer {
  return asBuffer(GroupRecordKey.encode({ group: record.group, subject: subjectOf(record) }).finish())
}

function subjectOf(record: GroupRecord): GroupRecordKey['subject'] {
  switch (record.kind) {
    case 'group':
      return { $case: 'whole', value: true }
    case 'member':
      return { $case: 'memberId', value: record.memberId }
    case 'offset':
      return { $case: 'offset', value: { topicId: record.topicId, partition: record.partition } }
  }
}

function valueOf(record: GroupRecord): Buffer | null {
  if (record.value === null) return null
  switch (record.kind) {
    case 'group':
      return asBuffer(GroupRecordValue.encode({ ...record.value }).finish())
    case 'member':
      return asBuffer(MemberRecordValue.encode(memberValue(record.value)).finish())
    case 'offset':
      return asBuffer(OffsetRecordValue.encode(offsetValue(record.value)).finish())
  }
}

function decode({ group, subject }: GroupRecordKey, value: Buffer | null): GroupRecord {
  switch (subject?.$case) {
    case 'whole':
      return { kind: 'group', group, value: value && GroupRecordValue.decode(value) }
    case 'memberId': {
      const memberId = subject.value
      return { kind: 'member', group, memberId, value: value && memberOf(memberId, MemberRecordValue.decode(value)) }
    }
    case 'offset': {
      const { topicId, partition } = subject.value
      checkTopicId(topicId)
      return { kind: 'offset', group, topicId, partition, value: value && offsetOf(OffsetRecordValue.decode(value)) }
    }
    default:
      throw new TidemarkError('CORRUPT_LOG', `a record of group ${JSON.stringify(group)} is of a kind this version does not know`)
  }
}

function memberValue({ target, held, ...member }: Member): MemberRecordValue {
  return {
    ...member,
    topics: [...member.topics],
    target: bundle([...target].map((key) => [key, { assigned: 0, revoked: 0 }])),
    held: bundle(held),
  }
}

function memberOf(memberId: string, { target, held, assignor, ...value }: MemberRecordValue): Member {
  return {
    ...value,
    memberId,
    assignor: ASSIGNOR_NAMES.find((name) => name === assignor) ?? 'uniform',
    target: new Set(unbundle(target).keys()),
    held: unbundle(held),
  }
}

function offsetValue({ leaderEpoch, ...offset }: StoredOffset): OffsetRecordValue {
  return { ...offset, leaderEpochPlusOne: leaderEpoch + 1 }
}

function offsetOf({ leaderEpochPlusOne, ...value }: OffsetRecordValue): StoredOffset {
  return { ...value, leaderEpoch: leaderEpochPlusOne - 1 }
}

/** Those of a topic that were given, and told to be let go of, at the same moments share an entry. */
function bundle(held: Iterable<readonly [PartitionKey, Held]>): HeldPartitions[] {
  const bundles = new Map<string, HeldPartitions>()
  for (const [key, { assigned, revoked }] of held) {
    const topicId = topicIdOf(key)
    const name = `${topicId} ${assigned} ${revoked}`
    const present = bundles.get(name)
    if (present === undefined)
      bundles.set(name, { topicId, assignedEpoch: assigned, revokedEpoch: revoked, partitions: [partitionOf(key)] })
    else present.partitions.push(partitionOf(key))
  }
  return [...bundles.values()]
}

function unbundle(bundles: readonly HeldPartitions[]): Map<PartitionKey, Held> {
  const held = new Map<PartitionKey, Held>()
  for (const { topicId, assignedEpoch, revokedEpoch, partitions } of bundles) {
    checkTopicId(topicId)
    for (const partition of partitions) held.set(partitionKey(topicId, partition), { assigned: assignedEpoch, revoked: revokedEpoch })
  }
  return held
}

/** The key of a partition is taken apart by the length of its topic's id. */
function checkTopicId(topicId: string): void {
  if (topicId.length !== TOPIC_ID_LENGTH)
    throw new TidemarkError('CORRUPT_LOG', `a record of a group names the topic id ${JSON.stringify(topicId.slice(0, 40))}`)
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
