/** A group as the coordinator drives it, without a log: every decision goes through the bytes of its records. */
import { expect } from 'vitest'
import { decodeRecord, encodeRecord } from '../../../broker/groups/group-records.ts'
import { type GroupRecord, GroupState, type Member } from '../../../broker/groups/group-state.ts'
import { type Heartbeat, heartbeat, type MembershipContext } from '../../../broker/groups/membership.ts'
import { type PartitionKey, partitionKey, partitionOf, topicIdOf } from '../../../broker/groups/partition-keys.ts'
import { Sessions } from '../../../broker/groups/sessions.ts'
import type { KnownTopic, TopicView } from '../../../broker/groups/topic-view.ts'
import { idOf } from '../../controller/fixtures.ts'

/** Topics that tests change. */
export class TestTopics implements TopicView {
  version = 1
  readonly #topics = new Map<string, KnownTopic>()
  #created = 0

  constructor(counts: Readonly<Record<string, number>> = {}) {
    for (const [name, partitionCount] of Object.entries(counts)) this.create(name, partitionCount)
  }

  create(name: string, partitionCount: number): KnownTopic {
    const topic = { name, topicId: idOf(++this.#created), partitionCount }
    this.#topics.set(name, topic)
    this.version++
    return topic
  }

  grow(name: string, partitionCount: number): void {
    this.#topics.set(name, { ...(this.#topics.get(name) as KnownTopic), partitionCount })
    this.version++
  }

  remove(name: string): void {
    this.#topics.delete(name)
    this.version++
  }

  key(name: string, partition: number): PartitionKey {
    return partitionKey(this.byName(name)?.topicId ?? '', partition)
  }

  byName(name: string): KnownTopic | undefined {
    return this.#topics.get(name)
  }

  byId(topicId: string): KnownTopic | undefined {
    return [...this.#topics.values()].find((topic) => topic.topicId === topicId)
  }

  matching(pattern: string): KnownTopic[] {
    return [...this.#topics.values()].filter(({ name }) => new RegExp(`^(?:${pattern})$`).test(name))
  }
}

export type Beat = Partial<Omit<Heartbeat, 'owned'>> & { readonly memberId: string; readonly owned?: Iterable<PartitionKey> }

export class TestGroup {
  readonly topics: TestTopics
  readonly sessions = new Sessions()
  /** All of them, as bytes. */
  readonly written: { readonly key: Buffer; readonly value: Buffer | null }[] = []
  state = new GroupState('billing')
  nowMs = 1_000_000
  membersMax = 1000

  constructor(topics: TestTopics) {
    this.topics = topics
  }

  context(memberId = ''): MembershipContext {
    const { nowMs, topics, membersMax } = this
    return { nowMs, topics, membersMax, knownEpoch: this.sessions.knownEpoch(memberId) }
  }

  /** What a member does; returns it as it is afterwards. */
  beat(beat: Beat): Member | undefined {
    const { owned, ...rest } = beat
    const whole: Heartbeat = {
      memberEpoch: 0,
      intent: 'stay',
      instanceId: '',
      clientId: '',
      topics: ['orders'],
      topicPattern: '',
      assignor: 'uniform',
      sessionTimeoutMs: 30_000,
      rebalanceTimeoutMs: 60_000,
      ...rest,
      owned: new Set(owned),
    }
    this.write(heartbeat(this.state, whole, this.context(beat.memberId)))
    this.sessions.heard(whole, whole.memberEpoch, '', this.nowMs)
    return this.state.members.get(beat.memberId)
  }

  /** The member tells that it knows its present epoch and holds just what it is assigned. */
  settle(memberId: string, more: Partial<Heartbeat> = {}): Member {
    const { epoch, instanceId, topics } = this.member(memberId)
    return this.beat({ memberId, memberEpoch: epoch, instanceId, topics, owned: assignedTo(this.member(memberId)), ...more }) as Member
  }

  member(memberId: string): Member {
    const member = this.state.members.get(memberId)
    expect(member, `member ${memberId}`).toBeDefined()
    return member as Member
  }

  /** `topic-partition` of what the member is assigned. */
  has(memberId: string): string[] {
    return assignedTo(this.member(memberId)).map((key) => this.nameOf(key))
  }

  letsGoOf(memberId: string): string[] {
    return [...this.member(memberId).held].flatMap(([key, { revoked }]) => (revoked === 0 ? [] : [this.nameOf(key)]))
  }

  nameOf(key: PartitionKey): string {
    return `${this.topics.byId(topicIdOf(key))?.name ?? '?'}-${partitionOf(key)}`
  }

  write(records: readonly GroupRecord[]): void {
    for (const record of records) {
      const { key, value } = encodeRecord(record)
      this.written.push({ key, value })
      this.state.apply(decodeRecord(key, value))
    }
    this.sessions.follow(this.state.members, this.nowMs)
    checkState(this.state)
  }

  /** Another coordinator takes over: all it has is what was written. */
  rebuild(): void {
    const state = new GroupState(this.state.group)
    for (const { key, value } of this.written) state.apply(decodeRecord(key, value))
    expect(state.members).toEqual(this.state.members)
    expect(state.offsets).toEqual(this.state.offsets)
    expect({ epoch: state.epoch, emptySinceMs: state.emptySinceMs }).toEqual({
      epoch: this.state.epoch,
      emptySinceMs: this.state.emptySinceMs,
    })
    this.state = state
  }
}

export function assignedTo({ held }: Member): PartitionKey[] {
  return [...held].flatMap(([key, { revoked }]) => (revoked === 0 ? [key] : []))
}

/** What holds of every group at any time. */
export function checkState({ epoch, members, emptySinceMs }: GroupState): void {
  const holders = new Set<PartitionKey>()
  const targets = new Set<PartitionKey>()
  for (const member of members.values()) {
    expect(member.epoch).toBeLessThanOrEqual(epoch)
    for (const [key, { assigned, revoked }] of member.held) {
      expect(holders.has(key), `${key} is held by one member`).toBe(false)
      holders.add(key)
      if (assigned !== Number.MAX_SAFE_INTEGER) expect(assigned).toBeLessThanOrEqual(member.epoch)
      expect(revoked).toBeLessThanOrEqual(member.epoch)
      expect(revoked === 0, `${key} is kept by whom it is meant for`).toBe(member.target.has(key))
    }
    for (const key of member.target) {
      expect(targets.has(key), `${key} is meant for one member`).toBe(false)
      targets.add(key)
    }
  }
  for (const key of targets) expect(holders.has(key), `${key} is held by the one it is meant for, or by one that lets go of it`).toBe(true)
  expect(members.size > 0 ? emptySinceMs : 0).toBe(0)
}
