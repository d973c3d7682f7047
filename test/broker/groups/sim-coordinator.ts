/** A coordinator of the simulation: the real shard and the real decisions, on a simulated log. */
import { GroupShard } from '../../../broker/groups/group-shard.ts'
import type { GroupRecord, GroupState, Member } from '../../../broker/groups/group-state.ts'
import type { LiveGroup } from '../../../broker/groups/live-group.ts'
import { followTopics, type Heartbeat } from '../../../broker/groups/membership.ts'
import {
  type Commit,
  type CommitResult,
  commitOffsets,
  fetchOffset,
  type OffsetsContext,
  resetOffsets,
} from '../../../broker/groups/offsets.ts'
import { type PartitionKey, partitionKey, partitionOf, topicIdOf } from '../../../broker/groups/partition-keys.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import type { MemberTarget, Told } from '../../sim/group-member.ts'
import type { VirtualTime } from '../../sim/virtual-time.ts'
import type { SimLog } from './sim-log.ts'
import type { TestTopics } from './support.ts'

export const GROUP = 'billing'
const TICK_MS = 100

/** Mistakes to be found, made where requests come in. */
export interface Mistakes {
  /** Of what a member says. */
  readonly beat?: (beat: Heartbeat, state: GroupState) => Heartbeat
  readonly commit?: (commit: Commit, state: GroupState) => Commit
  /** Answers are not held back until what they tell of is committed. */
  readonly isHasty?: boolean
  /** A coordinator that takes over takes members for silent since before. */
  readonly forgetsGrace?: boolean
}

export interface CoordinatorParts {
  readonly time: VirtualTime
  readonly topics: TestTopics
  readonly log: SimLog
  readonly graceMs: number
  readonly mistakes: Mistakes
  readonly broken: (coordinator: SimCoordinator, error: TidemarkError) => void
  readonly loaded: (coordinator: SimCoordinator) => void
  /** It takes a commit; whether that will be committed is to be seen. */
  readonly accepted: (coordinator: SimCoordinator, commit: Commit) => void
}

export class SimCoordinator implements MemberTarget {
  readonly shard: GroupShard
  readonly log: SimLog
  readonly #parts: CoordinatorParts
  readonly #stop: () => void

  constructor(parts: CoordinatorParts) {
    const { time, log, graceMs } = parts
    this.#parts = parts
    this.log = log
    this.shard = new GroupShard({ partition: 0, log, clock: time, graceMs: () => graceMs, broken: (error) => parts.broken(this, error) })
    const tick = time.every(TICK_MS, () => this.#endSessions())
    this.#stop = () => tick.cancel()
    void this.shard.load().then(() => {
      if (!this.shard.isActive) return
      parts.loaded(this)
      this.followTopics()
    })
  }

  get state(): GroupState | undefined {
    return this.shard.groups.get(GROUP)?.state
  }

  beat(beat: Heartbeat): Promise<Told> {
    return this.shard.change(GROUP, (group) => {
      const meant = this.#parts.mistakes.beat?.(beat, group.state) ?? beat
      const { records, answer } = group.beat(meant, {
        ...this.#context(),
        monotonicMs: this.#parts.time.monotonic(),
        membersMax: 100,
        peer: '',
      })
      return { records, answer: () => toldOf(answer()) }
    })
  }

  commit(commit: Commit): Promise<readonly CommitResult[]> {
    return this.shard.change(GROUP, ({ state }) => {
      const meant = this.#parts.mistakes.commit?.(commit, state) ?? commit
      const { records, results } = commitOffsets(state, meant, this.#context())
      if (results.every(({ error }) => error === undefined)) this.#parts.accepted(this, commit)
      return { records, answer: () => results }
    })
  }

  fetch(memberId: string, key: PartitionKey, assignedEpoch: number): Promise<number | undefined> {
    return this.shard.change(GROUP, ({ state }) => {
      const member = state.members.get(memberId)
      if (member === undefined) throw new TidemarkError('UNKNOWN_MEMBER_ID')
      const wanted = { topic: '', topicId: topicIdOf(key), partition: partitionOf(key), assignedEpoch }
      return { records: [], answer: () => fetchOffset(state, wanted, member, this.#parts.topics).stored?.offset }
    })
  }

  reset(key: PartitionKey, topic: string, offset: number): Promise<void> {
    return this.shard.change(GROUP, ({ state }) => ({
      records: resetOffsets(state, new Map([[key, { topic, offset }]]), this.#context()),
      answer: () => undefined,
    }))
  }

  followTopics(): void {
    this.#write(({ state }) => (state.members.size === 0 ? [] : followTopics(state, this.#context())))
  }

  /** It learns that it is none any more, or has to begin anew. */
  close(): void {
    this.#stop()
    this.log.depose()
    this.shard.close(new TidemarkError('NOT_COORDINATOR'))
  }

  #endSessions(): void {
    const group = this.shard.isActive ? this.shard.groups.get(GROUP) : undefined
    const ended = group?.endSessions({ ...this.#context(), monotonicMs: this.#parts.time.monotonic() })
    if (ended !== undefined && ended.overdue.length > 0) this.#write(() => ended.records)
  }

  #write(decide: (group: LiveGroup) => readonly GroupRecord[]): void {
    this.shard.change(GROUP, (group) => ({ records: decide(group), answer: () => undefined })).catch(() => {})
  }

  #context(): OffsetsContext {
    return { nowMs: this.#parts.time.now(), topics: this.#parts.topics, offsetsMax: () => 1000 }
  }
}

/** Members of the simulation commit one partition at a time. */
export function keyOf({ partitions: [first] }: Commit): PartitionKey {
  return partitionKey(first?.topicId ?? '', first?.partition ?? 0)
}

function toldOf(member: Member | undefined): Told {
  const held = [...(member?.held ?? [])]
  return {
    epoch: member?.epoch ?? 0,
    assigned: new Map(held.flatMap(([key, { assigned, revoked }]) => (revoked === 0 ? [[key, assigned] as const] : []))),
  }
}
