/**
 * A member of the simulation: the rules of groups.proto, and no more. It holds what it was told, lets go of what it was told to when its handler is done,
 * commits what it holds, and drops everything when it has not been answered for a session.
 */
import type { Heartbeat } from '../../broker/groups/membership.ts'
import type { Commit, CommitResult } from '../../broker/groups/offsets.ts'
import { type PartitionKey, partitionOf, topicIdOf } from '../../broker/groups/partition-keys.ts'
import type { TidemarkError } from '../../protocol/errors.ts'
import { between, type Chance } from '../../scripts/random.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { VirtualTime } from './virtual-time.ts'

/** What a member is told. */
export interface Told {
  readonly epoch: number
  /** What it shall hold, and since which epoch. */
  readonly assigned: ReadonlyMap<PartitionKey, number>
}

/** Whoever coordinates the group, as a member asks it. */
export interface MemberTarget {
  beat(beat: Heartbeat): Promise<Told>
  commit(commit: Commit): Promise<readonly Pick<CommitResult, 'error'>[]>
  fetch(memberId: string, key: PartitionKey, assignedEpoch: number): Promise<number | undefined>
}

export interface MemberTimes {
  readonly sessionMs: number
  readonly rebalanceMs: number
  readonly beatMs: number
  /** So long it waits for an answer. */
  readonly answerMs: number
  /** Most handlers are done within this, a few take much longer. */
  readonly handlerMs: number
  readonly longHandlerMs: number
}

interface Holding {
  readonly assigned: number
  /** What comes next; undefined: to be asked for. */
  position: number | undefined
  /** It is letting go. */
  isLeaving: boolean
}

/** Where it lives. */
export interface MemberWorld {
  readonly time: VirtualTime
  readonly times: MemberTimes
  request<T>(call: (target: MemberTarget) => Promise<T>, done: (value: T) => void, failed: (error: TidemarkError) => void): void
  /** It was given the partition. */
  took(member: SimMember, key: PartitionKey, assigned: number): void
  /** What a question asked now must be answered with at least. */
  leastOffset(key: PartitionKey): number
  fetched(key: PartitionKey, offset: number, least: number): void
  /** Somebody else has been given the partition since. */
  isLate(member: SimMember, key: PartitionKey, assigned: number): boolean
  acknowledged(key: PartitionKey, offset: number, isLate: boolean): void
}

export class SimMember {
  readonly memberId: string
  readonly instanceId: string
  topics: readonly string[]
  readonly held = new Map<PartitionKey, Holding>()
  epoch = 0
  isGone = false
  readonly #world: MemberWorld
  readonly #chance: Chance
  /** When the last heartbeat was sent that was answered. */
  #answeredMs = Number.NEGATIVE_INFINITY
  #beatTimer: Timer | undefined
  /** Of the heartbeat sent last: only its answer counts. */
  #beatCount = 0
  #backlog: (() => void)[] | undefined

  constructor(world: MemberWorld, memberId: string, instanceId: string, topics: readonly string[], chance: Chance) {
    this.#world = world
    this.memberId = memberId
    this.instanceId = instanceId
    this.topics = topics
    this.#chance = chance
    this.#after(0, () => this.#beat())
    this.#after(between(chance, 100, 1000), () => this.#work())
  }

  get isPaused(): boolean {
    return this.#backlog !== undefined
  }

  /** It does something with the partition: it holds it, and is not overdue. */
  believes(key: PartitionKey): boolean {
    return !this.isGone && !this.isPaused && !this.#isOverdue && this.held.has(key)
  }

  /** SIGSTOP. */
  pause(ms: number): void {
    if (this.#backlog !== undefined) return
    this.#backlog = []
    this.#world.time.after(ms, () => {
      const backlog = this.#backlog ?? []
      this.#backlog = undefined
      for (const happens of backlog) this.#world.time.after(0, () => this.#run(happens))
    })
  }

  /** The process dies. */
  kill(): void {
    this.isGone = true
    this.held.clear()
  }

  /** It stops in order. */
  leave(intent: 'leave' | 'leave-for-a-while'): void {
    if (this.isPaused || this.isGone) return
    this.#checkSession()
    const { epoch } = this
    this.kill()
    this.#world.request(
      (target) => target.beat({ ...this.#heartbeat(), memberEpoch: epoch, intent }),
      () => {},
      () => {},
    )
  }

  get #isOverdue(): boolean {
    return this.held.size > 0 && this.#world.time.monotonic() - this.#answeredMs >= this.#world.times.sessionMs
  }

  #run(happens: () => void): void {
    if (this.isGone) return
    if (this.#backlog === undefined) happens()
    else this.#backlog.push(happens)
  }

  #after(ms: number, happens: () => void): Timer {
    return this.#world.time.after(ms, () => this.#run(happens))
  }

  #heartbeat(): Heartbeat {
    return {
      memberId: this.memberId,
      memberEpoch: this.epoch,
      intent: 'stay',
      instanceId: this.instanceId,
      clientId: '',
      topics: this.topics,
      topicPattern: '',
      assignor: 'uniform',
      sessionTimeoutMs: this.#world.times.sessionMs,
      rebalanceTimeoutMs: this.#world.times.rebalanceMs,
      owned: new Set(this.held.keys()),
    }
  }

  #beat(): void {
    this.#checkSession()
    this.#beatTimer?.cancel()
    this.#beatTimer = this.#after(this.#world.times.answerMs, () => this.#beat())
    const number = ++this.#beatCount
    const sentMs = this.#world.time.monotonic()
    const beat = this.#heartbeat()
    this.#world.request(
      (target) => target.beat(beat),
      (told) => this.#run(() => number === this.#beatCount && this.#answered(told, sentMs)),
      (error) => this.#run(() => number === this.#beatCount && this.#refused(error)),
    )
  }

  #answered({ epoch, assigned }: Told, sentMs: number): void {
    this.#checkSession()
    if (epoch < this.epoch || this.#world.time.monotonic() - sentMs >= this.#world.times.sessionMs) return
    this.epoch = epoch
    this.#answeredMs = sentMs
    this.#beatTimer?.cancel()
    this.#beatTimer = this.#after(this.#world.times.beatMs, () => this.#beat())
    for (const [key, holding] of this.held) {
      const given = assigned.get(key)
      if (given !== undefined && given !== holding.assigned) this.held.delete(key)
      else if (given === undefined && !holding.isLeaving) this.#letGo(key, holding)
    }
    for (const [key, given] of assigned) if (!this.held.has(key)) this.#take(key, given)
  }

  #refused({ code }: TidemarkError): void {
    if (code === 'UNKNOWN_MEMBER_ID' || code === 'FENCED_MEMBER_EPOCH') this.#dropAll()
    // Another process has its place: it ends.
    if (code === 'FENCED_INSTANCE_ID') this.kill()
  }

  #take(key: PartitionKey, assigned: number): void {
    const holding: Holding = { assigned, position: undefined, isLeaving: false }
    this.held.set(key, holding)
    this.#world.took(this, key, assigned)
    this.#askPosition(key, holding)
  }

  #askPosition(key: PartitionKey, holding: Holding): void {
    // What it has committed itself it knows better than a former coordinator may.
    if (this.held.get(key) !== holding || holding.position !== undefined) return
    const least = this.#world.leastOffset(key)
    this.#world.request(
      (target) => target.fetch(this.memberId, key, holding.assigned),
      (offset) =>
        this.#run(() => {
          if (this.held.get(key) !== holding || holding.position !== undefined) return
          this.#world.fetched(key, offset ?? 0, least)
          holding.position = offset ?? 0
        }),
      () => {},
    )
    // Lost on the way, or refused.
    this.#after(this.#world.times.answerMs, () => this.#askPosition(key, holding))
  }

  /** When its handler is done, and what it did is committed or not. */
  #letGo(key: PartitionKey, holding: Holding): void {
    const { handlerMs, longHandlerMs } = this.#world.times
    holding.isLeaving = true
    this.#after(this.#world.times.rebalanceMs, () => {
      if (this.held.get(key) === holding) this.#dropAll()
    })
    this.#after(between(this.#chance, 0, this.#chance() < 0.05 ? longHandlerMs : handlerMs), () => {
      if (this.held.get(key) !== holding) return
      this.#commit(key, holding)
      this.held.delete(key)
      // A handler that was forgotten comes to its end.
      if (this.#chance() < 0.3) this.#after(between(this.#chance, 100, handlerMs * 10), () => this.#commit(key, holding))
      this.#beat()
    })
  }

  /** It handles records, and commits. */
  #work(): void {
    this.#after(between(this.#chance, 100, 1000), () => this.#work())
    // Now and then one that was paused looks at the clock too late.
    if (this.#chance() < 0.9) this.#checkSession()
    for (const [key, holding] of this.held) {
      if (holding.position === undefined || this.#chance() < 0.5) continue
      holding.position += Math.floor(this.#chance() * 5)
      this.#commit(key, holding)
    }
  }

  #commit(key: PartitionKey, { assigned, position }: Holding): void {
    if (position === undefined) return
    const partition = {
      topic: '',
      topicId: topicIdOf(key),
      partition: partitionOf(key),
      assignedEpoch: assigned,
      offset: position,
      leaderEpoch: -1,
      metadata: '',
    }
    const isLate = this.#world.isLate(this, key, assigned)
    const commit = { memberId: this.memberId, instanceId: this.instanceId, partitions: [partition], mayGoBack: false }
    this.#world.request(
      (target) => target.commit(commit),
      ([result]) => result?.error === undefined && this.#world.acknowledged(key, position, isLate),
      () => {},
    )
  }

  #checkSession(): void {
    if (this.#isOverdue) this.#dropAll()
  }

  #dropAll(): void {
    this.held.clear()
    this.epoch = 0
    this.#beatCount++
    this.#answeredMs = Number.NEGATIVE_INFINITY
    this.#beatTimer?.cancel()
    this.#beatTimer = this.#after(between(this.#chance, 10, 500), () => this.#beat())
  }
}
