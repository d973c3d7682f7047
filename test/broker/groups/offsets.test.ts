import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Commit,
  type CommitResult,
  commitOffsets,
  deleteGroup,
  deleteOffset,
  expireOffsets,
  METADATA_BYTES_MAX,
  type OffsetsContext,
  resetOffsets,
  type WantedCommit,
} from '../../../broker/groups/offsets.ts'
import { NEVER } from '../../../broker/groups/group-state.ts'
import { TestGroup, TestTopics } from './support.ts'

const DAY_MS = 86_400_000

type Wanted = Partial<WantedCommit> & { readonly offset: number }

class CommittingGroup extends TestGroup {
  offsetsMax = 1000

  offsetsContext(): OffsetsContext {
    return { nowMs: this.nowMs, topics: this.topics, offsetsMax: () => this.offsetsMax }
  }

  /** To orders-0 unless it says otherwise, in the epoch in which the member was given it. */
  commit(memberId: string, wanted: Wanted | readonly Wanted[], more: Partial<Commit> = {}): CommitResult[] {
    const partitions = [wanted].flat().map((one): WantedCommit => {
      const whole = {
        topic: 'orders',
        topicId: undefined,
        partition: 0,
        leaderEpoch: -1,
        metadata: '',
        assignedEpoch: 0,
        ...(one as Wanted),
      }
      const held = this.state.members.get(memberId)?.held.get(this.topics.key(whole.topic, whole.partition))
      return { ...whole, assignedEpoch: (one as Wanted).assignedEpoch ?? held?.assigned ?? 0 }
    })
    const { records, results } = commitOffsets(
      this.state,
      { memberId, instanceId: '', mayGoBack: false, ...more, partitions },
      this.offsetsContext(),
    )
    this.write(records)
    return [...results]
  }

  offset(topic = 'orders', partition = 0): number | undefined {
    return this.state.offsets.get(this.topics.key(topic, partition))?.offset
  }

  assigned(memberId: string, partition = 0): number {
    return this.member(memberId).held.get(this.topics.key('orders', partition))?.assigned ?? 0
  }

  reset(partition: number, offset: number): void {
    const key = this.topics.key('orders', partition)
    this.write(resetOffsets(this.state, new Map([[key, { topic: 'orders', offset }]]), this.offsetsContext()))
  }
}

function group(counts: Readonly<Record<string, number>> = { orders: 4 }): CommittingGroup {
  return new CommittingGroup(new TestTopics(counts))
}

function codes(results: readonly CommitResult[]): (string | undefined)[] {
  return results.map(({ error }) => error?.code)
}

describe('a commit of a member', () => {
  it('is kept with its metadata and leader epoch, and answered with what is committed', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    expect(made.commit('a', { offset: 7, leaderEpoch: 3, metadata: 'checkpoint' })).toEqual([
      { topic: 'orders', partition: 0, error: undefined, offset: 7 },
    ])
    made.rebuild()
    expect(made.state.offsets.get(made.topics.key('orders', 0))).toEqual({
      offset: 7,
      leaderEpoch: 3,
      metadata: 'checkpoint',
      commitTimeMs: made.nowMs,
      progressTimeMs: made.nowMs,
      metadataVersion: made.topics.version,
      topic: 'orders',
    })
  })

  it('is fenced when the partition is not its own (M28)', () => {
    const made = group({ orders: 2 })
    made.beat({ memberId: 'a' })
    made.settle('a')
    made.beat({ memberId: 'b' })
    const given = made.assigned('a', 1)
    // It is told to let go of it, and commits what it has done before it does.
    expect(codes(made.commit('a', { partition: 1, offset: 5 }))).toEqual([undefined])
    made.settle('a')
    expect(codes(made.commit('b', { partition: 1, offset: 6 }))).toEqual([undefined])
    expect(codes(made.commit('a', { partition: 1, offset: 9, assignedEpoch: given }))).toEqual(['STALE_MEMBER_EPOCH'])
    expect(codes(made.commit('b', { partition: 0, offset: 9, assignedEpoch: made.assigned('a') }))).toEqual(['STALE_MEMBER_EPOCH'])
    expect([made.offset('orders', 0), made.offset('orders', 1)]).toEqual([undefined, 6])
  })

  it('is fenced when the partition was away in between', () => {
    const made = group({ orders: 2 })
    made.beat({ memberId: 'a' })
    made.settle('a')
    const before = made.assigned('a', 1)
    made.beat({ memberId: 'b' })
    made.settle('a')
    made.beat({ memberId: 'b', memberEpoch: made.member('b').epoch, intent: 'leave' })
    expect(codes(made.commit('a', { partition: 1, offset: 5, assignedEpoch: before }))).toEqual(['STALE_MEMBER_EPOCH'])
    expect(codes(made.commit('a', { partition: 1, offset: 5 }))).toEqual([undefined])
  })

  it('is refused as a whole when nobody knows the member', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    expect(() => made.commit('b', { offset: 1 })).toThrow(expect.objectContaining({ code: 'UNKNOWN_MEMBER_ID' }))
    expect(() => made.commit('', { offset: 1 })).toThrow(expect.objectContaining({ code: 'UNKNOWN_MEMBER_ID' }))
    made.beat({ memberId: 's1', instanceId: 's' })
    made.beat({ memberId: 's1', instanceId: 's', memberEpoch: made.member('s1').epoch, intent: 'leave-for-a-while' })
    made.beat({ memberId: 's2', instanceId: 's' })
    expect(() => made.commit('s1', { offset: 1 }, { instanceId: 's' })).toThrow(expect.objectContaining({ code: 'FENCED_INSTANCE_ID' }))
  })

  it('fails for one partition without failing for the others', () => {
    const made = group({ orders: 2 })
    made.beat({ memberId: 'a' })
    const results = made.commit('a', [
      { offset: 1 },
      { offset: 2 },
      { partition: 1, offset: 3, metadata: 'x'.repeat(METADATA_BYTES_MAX + 1) },
      { partition: 2, offset: 4 },
      { topic: 'unknown', offset: 5 },
      { topicId: 'A'.repeat(22), offset: 6 },
    ])
    expect(codes(results)).toEqual([
      undefined,
      'INVALID_REQUEST',
      'OFFSET_METADATA_TOO_LARGE',
      'UNKNOWN_PARTITION',
      'UNKNOWN_TOPIC',
      'UNKNOWN_TOPIC_ID',
    ])
    expect(made.offset()).toBe(1)
  })

  it('may be repeated, and does not go back (J24, K41)', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    made.commit('a', { offset: 5 })
    const count = made.written.length
    expect(made.commit('a', { offset: 5 })).toMatchObject([{ error: undefined, offset: 5 }])
    expect(made.commit('a', { offset: 3 })).toMatchObject([{ error: undefined, offset: 5 }])
    expect(made.written).toHaveLength(count)
    expect(made.commit('a', { offset: 3 }, { mayGoBack: true })).toMatchObject([{ error: undefined, offset: 3 }])
    expect(made.offset()).toBe(3)
  })

  it('moves the time of the last progress only when it moves the offset', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    made.commit('a', { offset: 5 })
    made.nowMs += 100
    made.commit('a', { offset: 5, metadata: 'again' })
    expect(made.state.offsets.get(made.topics.key('orders', 0))).toMatchObject({ progressTimeMs: 1_000_000, commitTimeMs: 1_000_100 })
  })

  it('is refused when the group has as many offsets as it may', () => {
    const made = group({ orders: 4 })
    made.offsetsMax = 2
    expect(
      codes(
        made.commit(
          '',
          [0, 1, 2].map((partition) => ({ partition, offset: 1 })),
        ),
      ),
    ).toEqual([undefined, undefined, 'LIMIT_EXCEEDED'])
    expect(codes(made.commit('', { partition: 1, offset: 2 }))).toEqual([undefined])
  })
})

describe('a commit without a member', () => {
  it('makes the group when there is none', () => {
    const made = group()
    made.commit('', { offset: 4 })
    made.rebuild()
    expect(made.offset()).toBe(4)
    expect(made.state.emptySinceMs).toBe(made.nowMs)
  })
})

describe('offsets of a topic that was created again (K29)', () => {
  it('are not inherited', () => {
    const made = group({ orders: 1 })
    made.commit('', { offset: 4 })
    made.topics.remove('orders')
    made.topics.create('orders', 1)
    expect(made.offset()).toBeUndefined()
  })
})

describe('a reset', () => {
  it('fences the member that has the partition: what it commits of before is refused', () => {
    const made = group({ orders: 2 })
    made.beat({ memberId: 'a' })
    made.settle('a')
    made.commit('a', { offset: 50 })
    const [before, other] = [made.assigned('a'), made.assigned('a', 1)]
    made.reset(0, 10)
    expect(codes(made.commit('a', { offset: 60, assignedEpoch: before }))).toEqual(['STALE_MEMBER_EPOCH'])
    expect(made.offset()).toBe(10)
    // It learns of another epoch, and begins again there; the other partition is as it was.
    expect(made.member('a').epoch).toBe(made.state.epoch)
    expect(made.assigned('a', 1)).toBe(other)
    expect(codes(made.commit('a', { offset: 11 }))).toEqual([undefined])
    made.rebuild()
  })

  it('lets nobody commit who is letting go', () => {
    const made = group({ orders: 2 })
    made.beat({ memberId: 'a' })
    made.settle('a')
    made.beat({ memberId: 'b' })
    made.reset(1, 10)
    expect(made.member('a').held.get(made.topics.key('orders', 1))?.assigned).toBe(NEVER)
    for (let epoch = 0; epoch <= made.state.epoch; epoch++)
      expect(codes(made.commit('a', { partition: 1, offset: 20, assignedEpoch: epoch }))).toEqual(['STALE_MEMBER_EPOCH'])
    made.settle('a')
    expect(codes(made.commit('b', { partition: 1, offset: 11 }))).toEqual([undefined])
  })

  it('works for a group without members, and for one that did not exist', () => {
    const made = group()
    made.reset(3, 9)
    expect(made.offset('orders', 3)).toBe(9)
    made.rebuild()
    expect(made.state.epoch).toBe(1)
  })
})

describe('expiry', () => {
  const expire = (made: CommittingGroup): void => made.write(expireOffsets(made.state, 7 * DAY_MS, made.offsetsContext()))

  it('begins when the last member has left', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    made.commit('a', { offset: 4 })
    made.nowMs += 30 * DAY_MS
    expire(made)
    expect(made.offset()).toBe(4)
    made.beat({ memberId: 'a', memberEpoch: made.member('a').epoch, intent: 'leave' })
    made.nowMs += 7 * DAY_MS - 1
    expire(made)
    expect(made.offset()).toBe(4)
    made.nowMs += 1
    expire(made)
    expect(made.offset()).toBeUndefined()
    expect(made.state.isGone).toBe(true)
  })

  it('counts from the last commit where no member ever was', () => {
    const made = group()
    made.commit('', [{ offset: 4 }, { partition: 1, offset: 4 }])
    made.nowMs += 5 * DAY_MS
    made.commit('', { offset: 5 })
    made.nowMs += 2 * DAY_MS
    expire(made)
    expect([made.offset('orders', 0), made.offset('orders', 1)]).toEqual([5, undefined])
    expect(made.state.isGone).toBe(false)
  })

  it('takes from a group at work what no member reads any more', () => {
    const made = group({ orders: 1, payments: 1 })
    made.beat({ memberId: 'a' })
    made.commit('a', { offset: 4 })
    made.settle('a', { topics: ['payments'] })
    made.settle('a')
    made.commit('a', { topic: 'payments', offset: 2 })
    made.nowMs += 7 * DAY_MS
    expire(made)
    expect([made.offset(), made.offset('payments')]).toEqual([undefined, 2])
  })

  it('takes what belongs to a topic that is gone, and keeps what belongs to one that is not known yet', () => {
    const made = group({ orders: 1 })
    made.commit('', { offset: 4 })
    const seen = made.topics.version
    // A node that is behind: it has not heard of the topic.
    made.topics.remove('orders')
    made.topics.version = seen - 1
    expire(made)
    expect(made.state.offsets.size).toBe(1)
    made.topics.version = seen + 1
    expire(made)
    expect(made.state.offsets.size).toBe(0)
  })
})

describe('deleting', () => {
  it('removes a group without members, with all its offsets', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    made.commit('a', { offset: 4 })
    expect(() => deleteGroup(made.state)).toThrow(expect.objectContaining({ code: 'NON_EMPTY_GROUP' }))
    made.beat({ memberId: 'a', memberEpoch: 1, intent: 'leave' })
    made.write(deleteGroup(made.state))
    made.rebuild()
    expect(made.state.isGone).toBe(true)
  })

  it('removes offsets of topics that nobody reads, and no others', () => {
    const made = group({ orders: 1, payments: 1 })
    made.commit('', [{ offset: 4 }, { topic: 'payments', offset: 5 }])
    made.beat({ memberId: 'a' })
    expect(() => deleteOffset(made.state, made.topics.key('orders', 0), made.topics)).toThrow(
      expect.objectContaining({ code: 'GROUP_SUBSCRIBED_TO_TOPIC' }),
    )
    made.write([deleteOffset(made.state, made.topics.key('payments', 0), made.topics)])
    expect([made.offset(), made.offset('payments')]).toEqual([4, undefined])
  })
})

describe('commits in any order', () => {
  it('leave the largest offset, however often each arrives', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ partition: fc.nat(3), offset: fc.nat(50) }), { maxLength: 40 }), (commits) => {
        const made = group()
        made.beat({ memberId: 'a' })
        for (const wanted of commits) expect(codes(made.commit('a', wanted))).toEqual([undefined])
        for (let partition = 0; partition < 4; partition++) {
          const offsets = commits.filter((wanted) => wanted.partition === partition).map(({ offset }) => offset)
          expect(made.offset('orders', partition)).toBe(offsets.length === 0 ? undefined : Math.max(...offsets))
        }
      }),
      { numRuns: 200 },
    )
  })
})
