/** How far records are committed and who is in sync, as the leader of a partition works it out. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LeaderState } from '../../../broker/replication/leader-state.ts'
import type { PartitionMetadata } from '../../../controller/metadata/image.ts'

const LAG_MAX_MS = 1000

function metadataOf(changes: Partial<PartitionMetadata> = {}): PartitionMetadata {
  return {
    replicas: [1, 2, 3],
    isr: [1, 2, 3],
    leader: 1,
    leaderEpoch: 5,
    partitionEpoch: 9,
    elr: [],
    addingReplicas: [],
    removingReplicas: [],
    lastKnownLeader: -1,
    ...changes,
  }
}

class Rig {
  nowMs = 0
  /** By node: the epoch of its present run; absent: it may not be in sync. */
  readonly runs = new Map([
    [2, 20],
    [3, 30],
  ])
  readonly leader: LeaderState
  end: number

  constructor(metadata: PartitionMetadata, epochStartOffset = 0) {
    this.end = epochStartOffset
    this.leader = new LeaderState(1, metadata, epochStartOffset, {
      clock: { monotonic: () => this.nowMs },
      replicaLagMaxMs: LAG_MAX_MS,
      isEligible: (nodeId, nodeEpoch) => this.runs.get(nodeId) === nodeEpoch,
    })
  }

  fetch(nodeId: number, fetchOffset: number, flushedOffset = fetchOffset, nodeEpoch = nodeId * 10): void {
    this.leader.fetched({ nodeId, nodeEpoch, fetchOffset, flushedOffset }, this.end, true)
  }

  committable(minIsr = 2): number | undefined {
    return this.leader.committable(this.end, minIsr, true)
  }

  wantedIsr(highWatermark = 0): number[] | undefined {
    return this.leader.propose(highWatermark, this.end, true)?.isr.map(({ nodeId }) => nodeId)
  }
}

describe('the high watermark of a leader', () => {
  it('is the least of what the replicas in sync have on disk, the own disk included', () => {
    const rig = new Rig(metadataOf())
    rig.end = 100
    rig.fetch(2, 90, 80)
    expect(rig.committable()).toBe(0)
    rig.fetch(3, 100, 95)
    expect(rig.committable()).toBe(80)
    rig.fetch(2, 100, 100)
    expect(rig.committable()).toBe(95)
    expect(rig.leader.committable(70, 2, true)).toBe(70)
    expect(rig.leader.committable(100, 2, false)).toBe(100)
  })

  it('stands still while too few are in sync', () => {
    const rig = new Rig(metadataOf({ isr: [1] }))
    rig.end = 10
    expect(rig.committable(2)).toBeUndefined()
    expect(rig.committable(1)).toBe(10)
  })

  it('K08 waits for a replica that is about to be let in until the controller has certainly not let it in', () => {
    const rig = new Rig(metadataOf({ isr: [1, 2] }))
    rig.end = 10
    rig.fetch(2, 10)
    rig.fetch(3, 10)
    const proposal = rig.leader.propose(10, rig.end, true)
    expect(proposal?.isr).toEqual([
      { nodeId: 1, nodeEpoch: 0 },
      { nodeId: 2, nodeEpoch: 0 },
      { nodeId: 3, nodeEpoch: 30 },
    ])
    rig.end = 20
    rig.fetch(2, 20)
    rig.nowMs += 10 * LAG_MAX_MS
    expect(rig.committable()).toBe(10)
    rig.leader.refused(proposal as NonNullable<typeof proposal>)
    expect(rig.committable()).toBe(20)
  })

  it('K08 waits for whoever the controller has let in, also when the proposal was another', () => {
    const rig = new Rig(metadataOf({ isr: [1, 2] }))
    rig.end = 10
    rig.fetch(2, 10)
    rig.leader.update({ replicas: [1, 2, 3], isr: [1, 2, 3], elr: [], partitionEpoch: 10 })
    expect(rig.committable()).toBe(0)
    rig.leader.update({ replicas: [1, 2, 3], isr: [1, 2], elr: [], partitionEpoch: 9 })
    expect(rig.leader.isr).toEqual([1, 2, 3])
  })

  it('does not run away from a replica that keeps up but is not in sync yet', () => {
    const rig = new Rig(metadataOf({ replicas: [1, 2], isr: [1] }))
    rig.end = 10
    rig.fetch(2, 10, 10)
    rig.end = 20
    rig.nowMs += 500
    expect(rig.committable(1)).toBe(10)
    // It has fallen silent, long before it would have to leave an ISR.
    rig.nowMs += 1
    expect(rig.committable(1)).toBe(20)
  })

  it('is not held back by a replica that keeps up but may not be in sync, nor by one that never had everything', () => {
    const rig = new Rig(metadataOf({ isr: [1] }))
    rig.end = 10
    rig.fetch(2, 10, 10, 19)
    rig.fetch(3, 4)
    rig.end = 20
    expect(rig.committable(1)).toBe(20)
  })

  it('never counts on what a replica had before this epoch, or in another run that was forgotten', () => {
    const rig = new Rig(metadataOf({ isr: [1, 2] }), 50)
    expect(rig.committable()).toBe(0)
    rig.fetch(2, 50)
    expect(rig.committable()).toBe(50)
    rig.leader.update({ replicas: [1, 3], isr: [1], elr: [], partitionEpoch: 10 })
    rig.leader.update({ replicas: [1, 2, 3], isr: [1, 2], elr: [], partitionEpoch: 11 })
    expect(rig.committable()).toBe(0)
  })
})

describe('a replica that is eligible', () => {
  const lacks = (rig: Rig, flushedOffset: number, nodeEpoch = 20): boolean =>
    rig.leader.lacksCommitted({ nodeId: 2, nodeEpoch, fetchOffset: flushedOffset, flushedOffset }, 40, true)

  it('K24 is wrongly counted on when it has less than what is committed, others are not counted on anyway', () => {
    const eligible = new Rig(metadataOf({ isr: [1], elr: [2] }), 40)
    expect([lacks(eligible, 39), lacks(eligible, 40)]).toEqual([true, false])
    expect(lacks(new Rig(metadataOf({ isr: [1, 3] }), 40), 39)).toBe(false)
  })

  it('K24 is judged by what it is now, and by all that it has said since it was started', () => {
    const rig = new Rig(metadataOf({ isr: [1], elr: [2] }), 40)
    rig.fetch(2, 40)
    expect([lacks(rig, 39), lacks(rig, 39, 21)]).toEqual([false, true])
    rig.leader.update({ replicas: [1, 2, 3], isr: [1, 3], elr: [], partitionEpoch: 10 })
    expect(lacks(rig, 39, 21)).toBe(false)
  })
})

describe('the replicas in sync', () => {
  it('K06 are joined only by one that has everything from before this epoch too', () => {
    const rig = new Rig(metadataOf({ isr: [1, 2] }), 50)
    rig.fetch(3, 49)
    expect(rig.wantedIsr(10)).toBeUndefined()
    rig.fetch(3, 50, 49)
    expect(rig.wantedIsr(10)).toBeUndefined()
    rig.fetch(3, 50, 50)
    expect(rig.wantedIsr(60)).toBeUndefined()
    expect(rig.wantedIsr(50)).toEqual([1, 2, 3])
  })

  it('K06 are joined again only by one that has everything from before this epoch, though it was in sync when the epoch began', () => {
    const rig = new Rig(metadataOf(), 50)
    rig.fetch(2, 50)
    rig.fetch(3, 49)
    // It was fenced for a moment, in one and the same run.
    rig.leader.update({ replicas: [1, 2, 3], isr: [1, 2], elr: [], partitionEpoch: 10 })
    rig.fetch(3, 49)
    expect(rig.wantedIsr(10)).toBeUndefined()
    rig.fetch(3, 50)
    expect(rig.wantedIsr(10)).toEqual([1, 2, 3])
  })

  it('K10 K11 are joined only by the present run of a node that may be in sync', () => {
    const rig = new Rig(metadataOf({ isr: [1, 2] }))
    rig.fetch(3, 0, 0, 29)
    expect(rig.wantedIsr()).toBeUndefined()
    rig.runs.delete(3)
    rig.fetch(3, 0)
    expect(rig.wantedIsr()).toBeUndefined()
    rig.runs.set(3, 30)
    expect(rig.wantedIsr()).toEqual([1, 2, 3])
  })

  it('lose one that has not had everything for too long, and one that was never heard of', () => {
    const rig = new Rig(metadataOf())
    rig.end = 10
    rig.fetch(2, 10)
    rig.nowMs = LAG_MAX_MS
    rig.fetch(2, 10)
    rig.fetch(3, 9)
    expect(rig.wantedIsr()).toBeUndefined()
    rig.nowMs = LAG_MAX_MS + 1
    expect(rig.wantedIsr()).toEqual([1, 2])
  })

  it('K20 are not joined again by one that left because nothing comes from it, though the high watermark waits where it was', () => {
    const rig = new Rig(metadataOf())
    rig.end = 10
    rig.fetch(2, 10)
    rig.fetch(3, 10)
    rig.end = 20
    rig.nowMs = LAG_MAX_MS + 1
    expect(rig.wantedIsr(10)).toEqual([1])
    rig.leader.update({ replicas: [1, 2, 3], isr: [1], elr: [], partitionEpoch: 10 })
    expect(rig.wantedIsr(10)).toBeUndefined()
    rig.fetch(3, 20)
    expect(rig.wantedIsr(10)).toEqual([1, 3])
  })

  it('keep one that has everything, however long nothing comes', () => {
    const rig = new Rig(metadataOf({ replicas: [1, 2], isr: [1, 2] }))
    rig.end = 10
    rig.fetch(2, 10)
    rig.nowMs = 10 * LAG_MAX_MS
    expect(rig.wantedIsr()).toBeUndefined()
    rig.end = 11
    expect(rig.wantedIsr()).toEqual([1])
  })

  it('E04 lose one whose disk hangs though it fetches', () => {
    const rig = new Rig(metadataOf({ replicas: [1, 2], isr: [1, 2] }))
    for (let ms = 0; ms <= LAG_MAX_MS + 100; ms += 50) {
      rig.nowMs = ms
      rig.end += 10
      rig.fetch(2, rig.end, 5)
    }
    expect(rig.wantedIsr()).toEqual([1])
  })

  it('keep one that is always a little behind a busy leader', () => {
    const rig = new Rig(metadataOf({ replicas: [1, 2], isr: [1, 2] }))
    const ends: number[] = []
    for (let ms = 0; ms <= 10 * LAG_MAX_MS; ms += 10) {
      rig.nowMs = ms
      rig.end += 10
      ends.push(rig.end)
      // On disk is what the leader had five fetches ago.
      rig.fetch(2, ends.at(-2) ?? 0, ends.at(-6) ?? 0)
      expect(rig.wantedIsr()).toBeUndefined()
    }
  })

  it('are proposed once at a time, and after a refusal not again at once', () => {
    const rig = new Rig(metadataOf({ isr: [1, 2] }))
    rig.fetch(3, 0)
    const first = rig.leader.propose(0, rig.end, true)
    expect(first).toMatchObject({ leaderEpoch: 5, partitionEpoch: 9 })
    expect(rig.wantedIsr()).toBeUndefined()
    rig.leader.refused(first as NonNullable<typeof first>)
    expect(rig.wantedIsr()).toBeUndefined()
    rig.nowMs += 200
    expect(rig.wantedIsr()).toEqual([1, 2, 3])
  })
})

describe('whatever replicas and controller do', () => {
  it('nothing counts as committed that a member of the maximal ISR has not reported in this epoch', () => {
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          kind: fc.constant('fetch' as const),
          node: fc.constantFrom(2, 3),
          part: fc.double({ min: 0, max: 1, noNaN: true }),
        }),
      },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('append' as const), count: fc.integer({ min: 1, max: 9 }) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('time' as const), ms: fc.integer({ min: 1, max: 2 * LAG_MAX_MS }) }) },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constantFrom('propose' as const, 'refuse' as const, 'accept' as const, 'fence' as const) }),
      },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const rig = new Rig(metadataOf())
        const flushed = new Map<number, number>()
        let proposal: ReturnType<LeaderState['propose']>
        let partitionEpoch = 9
        let highWatermark = 0
        for (const one of steps) {
          if (one.kind === 'append') rig.end += one.count
          else if (one.kind === 'time') rig.nowMs += one.ms
          else if (one.kind === 'fetch') {
            const before = flushed.get(one.node) ?? 0
            const offset = before + Math.floor(one.part * (rig.end - before))
            flushed.set(one.node, offset)
            rig.fetch(one.node, offset)
          } else if (one.kind === 'propose') proposal = rig.leader.propose(highWatermark, rig.end, true) ?? proposal
          else if (one.kind === 'refuse' && proposal !== undefined) rig.leader.refused(proposal)
          else if (one.kind === 'accept' && proposal?.partitionEpoch === partitionEpoch)
            rig.leader.update({
              replicas: [1, 2, 3],
              isr: proposal.isr.map(({ nodeId }) => nodeId),
              elr: [],
              partitionEpoch: ++partitionEpoch,
            })
          else if (one.kind === 'fence') rig.leader.update({ replicas: [1, 2, 3], isr: [1, 2], elr: [], partitionEpoch: ++partitionEpoch })
          const offset = rig.committable(2)
          if (offset === undefined || offset <= highWatermark) continue
          highWatermark = offset
          expect(rig.leader.isr.length).toBeGreaterThanOrEqual(2)
          for (const nodeId of rig.leader.isr) if (nodeId !== 1) expect(flushed.get(nodeId) ?? 0).toBeGreaterThanOrEqual(highWatermark)
        }
      }),
      { numRuns: 500 },
    )
  })
})
