import { describe, expect, it } from 'vitest'
import { followTopics, removeMembers } from '../../../broker/groups/membership.ts'
import { pendingOf } from '../../../broker/groups/group-state.ts'
import { TestGroup, TestTopics } from './support.ts'

function group(counts: Readonly<Record<string, number>> = { orders: 4 }): TestGroup {
  return new TestGroup(new TestTopics(counts))
}

/** Each settles as often as it takes until nobody has to let go of anything. */
function settleAll(made: TestGroup): void {
  for (let round = 0; round < 5; round++) for (const memberId of [...made.state.members.keys()]) made.settle(memberId)
}

describe('a member that joins', () => {
  it('gets all partitions when it is alone', () => {
    const made = group()
    const member = made.beat({ memberId: 'a' })
    expect(made.has('a')).toEqual(['orders-0', 'orders-1', 'orders-2', 'orders-3'])
    expect(member?.epoch).toBe(1)
    expect(made.state.epoch).toBe(1)
  })

  it('gets what another has only when that one has let go of it, and not a moment earlier', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    const all = made.settle('a')
    made.beat({ memberId: 'b' })
    expect(made.has('b')).toEqual([])
    expect(pendingOf(made.member('b'))).toHaveLength(2)
    expect(made.letsGoOf('a')).toEqual(['orders-2', 'orders-3'])
    // It does not know yet that it shall let go: that it holds less says nothing.
    made.beat({ memberId: 'a', memberEpoch: all.epoch, owned: [] })
    expect(made.letsGoOf('a')).toHaveLength(2)
    // It knows, and is not done.
    const { epoch, held } = made.member('a')
    made.beat({ memberId: 'a', memberEpoch: epoch, owned: held.keys() })
    expect(made.letsGoOf('a')).toHaveLength(2)
    // One after the other.
    made.beat({ memberId: 'a', memberEpoch: epoch, owned: [0, 1, 3].map((partition) => made.topics.key('orders', partition)) })
    expect(made.has('b')).toEqual(['orders-2'])
    made.settle('a')
    expect(made.has('b')).toEqual(['orders-2', 'orders-3'])
    expect(made.has('a')).toEqual(['orders-0', 'orders-1'])
  })

  it('does not disturb who keeps what it has', () => {
    const made = group({ orders: 6 })
    made.beat({ memberId: 'a' })
    made.beat({ memberId: 'b' })
    settleAll(made)
    const before = [...made.member('a').held]
    made.beat({ memberId: 'c' })
    settleAll(made)
    const kept = before.filter(([key]) => made.member('a').held.has(key))
    expect(kept).toHaveLength(2)
    for (const [key, held] of kept) expect(made.member('a').held.get(key)).toEqual(held)
    expect(made.has('c')).toHaveLength(2)
  })

  it('may join again with the same answer, as when the first one was lost', () => {
    const made = group()
    const first = made.beat({ memberId: 'a' })
    expect(made.beat({ memberId: 'a' })).toEqual(first)
  })

  it('waits in reserve when there are more members than partitions, and steps in when one leaves', () => {
    const made = group({ orders: 2 })
    for (const memberId of ['a', 'b', 'c']) made.beat({ memberId })
    settleAll(made)
    expect(['a', 'b', 'c'].map((memberId) => made.has(memberId).length)).toEqual([1, 1, 0])
    expect(made.member('c').target.size).toBe(0)
    made.beat({ memberId: 'a', memberEpoch: made.member('a').epoch, intent: 'leave' })
    expect(made.has('c')).toHaveLength(1)
    expect(made.has('b')).toHaveLength(1)
  })

  it('is refused when the group is full', () => {
    const made = group()
    made.membersMax = 1
    made.beat({ memberId: 'a' })
    expect(() => made.beat({ memberId: 'b' })).toThrow(expect.objectContaining({ code: 'GROUP_MAX_SIZE_REACHED' }))
  })

  it('cannot hold anything already', () => {
    const made = group()
    const owned = [made.topics.key('orders', 0)]
    expect(() => made.beat({ memberId: 'a', owned })).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }))
  })
})

describe('a member that stays', () => {
  it('changes nothing and writes nothing', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    const count = made.written.length
    made.settle('a')
    made.settle('a')
    expect(made.written).toHaveLength(count)
  })

  it('is refused when nobody knows it, when it comes with an epoch it cannot have, and when it claims what is not its own', () => {
    const made = group()
    expect(() => made.beat({ memberId: 'a', memberEpoch: 3 })).toThrow(expect.objectContaining({ code: 'UNKNOWN_MEMBER_ID' }))
    made.beat({ memberId: 'a' })
    made.beat({ memberId: 'b' })
    settleAll(made)
    const { epoch } = made.member('a')
    expect(() => made.beat({ memberId: 'a', memberEpoch: epoch + 1 })).toThrow(expect.objectContaining({ code: 'FENCED_MEMBER_EPOCH' }))
    expect(() => made.beat({ memberId: 'a', memberEpoch: epoch, owned: made.member('b').held.keys() })).toThrow(
      expect.objectContaining({ code: 'FENCED_MEMBER_EPOCH' }),
    )
    expect(() => made.beat({ memberId: 'a', memberEpoch: epoch, instanceId: 'other' })).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    )
  })

  it('releases nothing with a heartbeat that was under way for long', () => {
    const made = group({ orders: 2 })
    made.beat({ memberId: 'a' })
    const early = made.settle('a')
    made.beat({ memberId: 'b' })
    settleAll(made)
    made.write(removeMembers(made.state, ['b'], made.context()))
    const late = made.settle('a')
    expect(made.has('a')).toHaveLength(2)
    made.beat({ memberId: 'b' })
    expect(made.letsGoOf('a')).toHaveLength(1)
    // From before it had both: it says truly that it does not hold the second one, as it was then.
    expect(early.epoch).toBeLessThan(late.epoch)
    expect(() => made.beat({ memberId: 'a', memberEpoch: early.epoch, owned: [] })).toThrow(
      expect.objectContaining({ code: 'FENCED_MEMBER_EPOCH' }),
    )
    made.beat({ memberId: 'a', memberEpoch: late.epoch, owned: [] })
    expect(made.letsGoOf('a')).toHaveLength(1)
  })

  it('gets back in another epoch what it was told to let go of, and begins anew there', () => {
    const made = group({ orders: 2 })
    made.beat({ memberId: 'a' })
    made.settle('a')
    made.beat({ memberId: 'b' })
    const key = made.topics.key('orders', 1)
    expect(made.letsGoOf('a')).toEqual(['orders-1'])
    const before = made.member('a').held.get(key)?.assigned
    made.beat({ memberId: 'b', memberEpoch: made.member('b').epoch, intent: 'leave' })
    expect(made.member('a').held.get(key)).toEqual({ assigned: made.member('a').epoch, revoked: 0 })
    expect(made.member('a').held.get(key)?.assigned).not.toBe(before)
  })

  it('may change what it subscribes to', () => {
    const made = group({ orders: 2, payments: 2 })
    made.beat({ memberId: 'a' })
    made.settle('a', { topics: ['payments'] })
    expect(made.has('a')).toEqual(['payments-0', 'payments-1'])
    expect(made.letsGoOf('a')).toEqual(['orders-0', 'orders-1'])
    made.settle('a')
    expect(made.letsGoOf('a')).toEqual([])
  })

  it('decides with the others how partitions are assigned', () => {
    const made = group({ orders: 4 })
    made.beat({ memberId: 'a', assignor: 'range' })
    made.beat({ memberId: 'b', assignor: 'range' })
    settleAll(made)
    made.settle('a', { assignor: 'range' })
    made.settle('b', { assignor: 'range' })
    settleAll(made)
    expect([made.has('a'), made.has('b')].map((names) => [...names].sort())).toEqual([
      ['orders-0', 'orders-1'],
      ['orders-2', 'orders-3'],
    ])
  })
})

describe('a member that leaves', () => {
  it('gives what it had to the others at once', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    made.beat({ memberId: 'b' })
    settleAll(made)
    made.beat({ memberId: 'a', memberEpoch: made.member('a').epoch, intent: 'leave' })
    expect(made.has('b')).toHaveLength(4)
  })

  it('may say so twice, and only with what it knew last', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    made.beat({ memberId: 'b' })
    settleAll(made)
    expect(() => made.beat({ memberId: 'a', memberEpoch: 1, intent: 'leave' })).toThrow(
      expect.objectContaining({ code: 'FENCED_MEMBER_EPOCH' }),
    )
    const { epoch } = made.member('a')
    expect(made.beat({ memberId: 'a', memberEpoch: epoch, intent: 'leave' })).toBeUndefined()
    expect(made.beat({ memberId: 'a', memberEpoch: epoch, intent: 'leave' })).toBeUndefined()
  })

  it('is remembered as the last one, with the time', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    made.nowMs += 500
    made.beat({ memberId: 'a', memberEpoch: 1, intent: 'leave' })
    expect(made.state.emptySinceMs).toBe(1_000_500)
    made.beat({ memberId: 'a' })
    expect(made.state.emptySinceMs).toBe(0)
    expect(made.member('a').epoch).toBeGreaterThan(2)
  })
})

describe('a static member', () => {
  it('keeps its partitions while it restarts, and nobody else notices', () => {
    const made = group()
    made.beat({ memberId: 'a1', instanceId: 'a' })
    made.beat({ memberId: 'b1', instanceId: 'b' })
    settleAll(made)
    const had = made.has('a1')
    const other = made.member('b1')
    made.beat({ memberId: 'a1', instanceId: 'a', memberEpoch: made.member('a1').epoch, intent: 'leave-for-a-while' })
    expect(made.member('a1').away).toBe(true)
    expect(made.member('b1')).toEqual(other)
    const again = made.beat({ memberId: 'a2', instanceId: 'a' })
    expect(made.has('a2')).toEqual(had)
    expect(made.state.members.has('a1')).toBe(false)
    expect(made.member('b1')).toEqual(other)
    // Commits of the former process know other epochs.
    expect([...(again?.held.values() ?? [])].map(({ assigned }) => assigned)).toEqual(had.map(() => again?.epoch))
  })

  it('keeps its place against a second process with the same instance id, and fences it once it has taken over', () => {
    const made = group()
    made.beat({ memberId: 'a1', instanceId: 'a' })
    expect(() => made.beat({ memberId: 'a2', instanceId: 'a' })).toThrow(
      expect.objectContaining({ code: 'UNRELEASED_INSTANCE_ID', retriable: true }),
    )
    made.beat({ memberId: 'a1', instanceId: 'a', memberEpoch: 1, intent: 'leave-for-a-while' })
    made.beat({ memberId: 'a2', instanceId: 'a' })
    expect(() => made.beat({ memberId: 'a1', instanceId: 'a', memberEpoch: 1 })).toThrow(
      expect.objectContaining({ code: 'FENCED_INSTANCE_ID' }),
    )
  })

  it('may come back itself', () => {
    const made = group()
    made.beat({ memberId: 'a1', instanceId: 'a' })
    made.beat({ memberId: 'a1', instanceId: 'a', memberEpoch: 1, intent: 'leave-for-a-while' })
    const back = made.beat({ memberId: 'a1', instanceId: 'a' })
    expect(back).toMatchObject({ away: false, epoch: made.state.epoch })
    expect(made.has('a1')).toHaveLength(4)
  })

  it('has let go of everything it was told to when it leaves', () => {
    const made = group({ orders: 2 })
    made.beat({ memberId: 'a1', instanceId: 'a' })
    made.settle('a1')
    made.beat({ memberId: 'b' })
    made.beat({ memberId: 'a1', instanceId: 'a', memberEpoch: made.member('a1').epoch, intent: 'leave-for-a-while' })
    expect(made.has('b')).toHaveLength(1)
  })

  it('gives up at once, while it is away, what is meant for others', () => {
    const made = group({ orders: 2 })
    made.beat({ memberId: 'a1', instanceId: 'a' })
    made.beat({ memberId: 'a1', instanceId: 'a', memberEpoch: 1, intent: 'leave-for-a-while' })
    made.beat({ memberId: 'b' })
    expect(made.has('b')).toHaveLength(1)
  })

  it('is what only members with an instance id can be', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    expect(() => made.beat({ memberId: 'a', memberEpoch: 1, intent: 'leave-for-a-while' })).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    )
  })
})

describe('topics that change', () => {
  function follow(made: TestGroup): void {
    made.write(followTopics(made.state, made.context()))
  }

  it('bring new partitions to the group when they grow', () => {
    const made = group({ orders: 2 })
    made.beat({ memberId: 'a' })
    made.beat({ memberId: 'b' })
    settleAll(made)
    made.topics.grow('orders', 6)
    follow(made)
    expect([made.has('a').length, made.has('b').length]).toEqual([3, 3])
  })

  it('are joined when they come to be, by name and by pattern', () => {
    const made = group({})
    made.beat({ memberId: 'a', topics: ['payments'], topicPattern: 'orders-.*' })
    expect(made.has('a')).toEqual([])
    made.topics.create('payments', 1)
    made.topics.create('orders-de', 2)
    made.topics.create('other', 2)
    follow(made)
    expect(made.has('a')).toEqual(['payments-0', 'orders-de-0', 'orders-de-1'])
  })

  it('are let go of when they are gone, and a new one of the same name is another', () => {
    const made = group({ orders: 1 })
    made.beat({ memberId: 'a' })
    made.settle('a')
    const old = made.topics.key('orders', 0)
    made.topics.remove('orders')
    made.topics.create('orders', 1)
    follow(made)
    expect(made.member('a').held.get(old)?.revoked).toBeGreaterThan(0)
    expect(made.has('a')).toEqual(['orders-0'])
    made.settle('a')
    expect([...made.member('a').held.keys()]).toEqual([made.topics.key('orders', 0)])
  })

  it('change nothing when they change nothing', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    const count = made.written.length
    follow(made)
    expect(made.written).toHaveLength(count)
  })
})

describe('sessions', () => {
  it('end for a member that is silent, and for one that does not let go', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    made.settle('a')
    made.nowMs += 29_999
    expect(made.sessions.overdue(made.state.members, made.nowMs)).toEqual([])
    made.nowMs += 1
    expect(made.sessions.overdue(made.state.members, made.nowMs)).toEqual([{ memberId: 'a', why: 'silent' }])
    made.settle('a')
    made.beat({ memberId: 'b' })
    // Its time begins when it says that it knows.
    for (let at = 0; at < 7; at++) {
      expect(made.sessions.overdue(made.state.members, made.nowMs)).toEqual([])
      made.nowMs += 10_000
      made.settle('b')
      const { epoch, held } = made.member('a')
      made.beat({ memberId: 'a', memberEpoch: epoch, owned: held.keys() })
    }
    expect(made.sessions.overdue(made.state.members, made.nowMs)).toEqual([{ memberId: 'a', why: 'slow' }])
    made.write(removeMembers(made.state, ['a'], made.context()))
    expect(made.has('b')).toHaveLength(4)
  })

  it('keep the place of a static member that died for the process that asks for it', () => {
    const made = group()
    made.beat({ memberId: 'a1', instanceId: 'a' })
    made.nowMs += 28_000
    made.sessions.knocked('a1', made.nowMs)
    made.nowMs += 2000
    expect(made.sessions.overdue(made.state.members, made.nowMs)).toEqual([{ memberId: 'a1', why: 'succeeded' }])
  })

  it('begin anew with another coordinator', () => {
    const made = group()
    made.beat({ memberId: 'a' })
    made.nowMs += 29_000
    const next = new TestGroup(made.topics)
    next.nowMs = made.nowMs
    next.written.push(...made.written)
    next.state = made.state
    next.rebuild()
    next.write([])
    next.nowMs += 29_000
    expect(next.sessions.overdue(next.state.members, next.nowMs)).toEqual([])
  })
})

describe('what is written', () => {
  it('is all there is: another coordinator has the same state', () => {
    const made = group({ orders: 5, payments: 3 })
    made.beat({ memberId: 'a', instanceId: 'a', topicPattern: 'pay.*', clientId: 'client' })
    made.beat({ memberId: 'b' })
    made.rebuild()
    settleAll(made)
    made.beat({ memberId: 'c' })
    made.rebuild()
    made.beat({ memberId: 'a', instanceId: 'a', memberEpoch: made.member('a').epoch, intent: 'leave-for-a-while' })
    made.rebuild()
    settleAll(made)
    made.rebuild()
  })
})
