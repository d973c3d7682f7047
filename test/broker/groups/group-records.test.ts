import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeRecord, encodeRecord } from '../../../broker/groups/group-records.ts'
import type { GroupRecord, Held, Member, StoredOffset } from '../../../broker/groups/group-state.ts'
import { partitionKey } from '../../../broker/groups/partition-keys.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import { idOf } from '../../controller/fixtures.ts'

const int = (max: number): fc.Arbitrary<number> => fc.integer({ min: 0, max })
const epochs = fc.oneof(int(1000), fc.constant(Number.MAX_SAFE_INTEGER))
const keys = fc.tuple(int(5), int(2000)).map(([topic, partition]) => partitionKey(idOf(topic), partition))
const names = fc.string({ maxLength: 20 })

const members: fc.Arbitrary<Member> = fc.record({
  memberId: fc.string({ minLength: 1, maxLength: 22 }),
  instanceId: names,
  clientId: names,
  topics: fc.array(names, { maxLength: 5 }),
  topicPattern: names,
  assignor: fc.constantFrom('uniform' as const, 'range' as const),
  sessionTimeoutMs: int(2 ** 31),
  rebalanceTimeoutMs: int(2 ** 31),
  epoch: int(2 ** 50),
  target: fc.array(keys, { maxLength: 30 }).map((list) => new Set(list)),
  held: fc
    .array(fc.tuple(keys, fc.record({ assigned: epochs, revoked: int(3) })), { maxLength: 30 })
    .map((list) => new Map<string, Held>(list)),
  away: fc.boolean(),
})

const offsets: fc.Arbitrary<StoredOffset> = fc.record({
  offset: int(Number.MAX_SAFE_INTEGER),
  leaderEpoch: fc.integer({ min: -1, max: 1000 }),
  metadata: fc.string(),
  commitTimeMs: int(2 ** 45),
  progressTimeMs: int(2 ** 45),
  metadataVersion: int(2 ** 45),
  topic: names,
})

const records: fc.Arbitrary<GroupRecord> = fc.oneof(
  fc.record({
    kind: fc.constant('group' as const),
    group: names,
    value: fc.option(fc.record({ epoch: int(2 ** 50), emptySinceMs: int(2 ** 45) })),
  }),
  fc
    .tuple(names, members, fc.boolean())
    .map(([group, member, isGone]) => ({ kind: 'member' as const, group, memberId: member.memberId, value: isGone ? null : member })),
  fc.record({
    kind: fc.constant('offset' as const),
    group: names,
    topicId: int(5).map(idOf),
    partition: int(10_000),
    value: fc.option(offsets),
  }),
)

describe('a record of a group', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(records, (record) => {
        const { key, value } = encodeRecord(record)
        expect(decodeRecord(key, value)).toEqual(record)
      }),
      { numRuns: 2000 },
    )
  })

  it('has the key of what it is about, whatever its value, so that compaction keeps the last one', () => {
    fc.assert(
      fc.property(records, (record) => {
        expect(encodeRecord({ ...record, value: null }).key).toEqual(encodeRecord(record).key)
      }),
    )
    // These bytes are on disks.
    const key = (record: GroupRecord): string => encodeRecord(record).key.toString('hex')
    expect(key({ kind: 'group', group: 'g', value: null })).toBe('0a01671001')
    expect(key({ kind: 'member', group: 'g', memberId: 'm', value: null })).toBe('0a01671a016d')
    expect(key({ kind: 'offset', group: 'g', topicId: 'A', partition: 3, value: null })).toBe('0a016722050a01411003')
  })

  it('that is damaged is told from a mistake of our own', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ maxLength: 60 }), (key, value) => {
        try {
          decodeRecord(Buffer.from(key), Buffer.from(value))
        } catch (error) {
          expect(TidemarkError.is(error) && error.code).toBe('CORRUPT_LOG')
        }
      }),
      { numRuns: 5000 },
    )
  })

  it('that names a topic by something else than its id is damaged: its partitions could not be told apart', () => {
    const record: GroupRecord = { kind: 'offset', group: 'g', topicId: 'orders', partition: 3, value: null }
    expect(() => decodeRecord(encodeRecord(record).key, null)).toThrow(expect.objectContaining({ code: 'CORRUPT_LOG' }))
  })
})
