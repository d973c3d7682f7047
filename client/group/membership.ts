/**
 * Belonging to a group: heartbeats, and what they bring.
 *
 * Heartbeats run on a timer of their own, so that a member that works on one record for an hour stays a member. Each waits at the coordinator until there is
 * something new, or it is time for the next one. Whoever is not heard of for a session is no member any more; this one stops counting on its
 * membership as soon as the coordinator may have given it up, whatever kept them apart: a network, a coordinator that is gone, a process that was stopped.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import { HeartbeatIntent, type HeartbeatRequest, type HeartbeatResponse } from '../../protocol/gen/tidemark/v1/groups.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { GroupCalls } from '../group-calls.ts'
import { backoffMs, pause, type RetryRuntime } from '../retry.ts'
import type { Given, PartitionKey } from './assigned.ts'
import type { GroupSettings } from './settings.ts'
import type { Signs } from './watchdog.ts'

/** Added to the time a heartbeat may wait at the coordinator before it counts as lost: so long at most, and a share of the session, which it must not outlast. */
const ANSWER_GRACE_MS = 5000
const ANSWER_GRACE_SHARE = 1 / 3
/** Between heartbeats that are answered at once and bring nothing new. */
const PAUSE_MS = 100
/** Who leaves tries for so long; then the session has to end. */
const LEAVE_TIMEOUT_MS = 2000

export interface MembershipEvents {
  /** Held from now on, until `taken` or `lost` and then `release`. */
  given(partitions: readonly Given[]): void
  /** To be let go of: `release` says when that is done. */
  taken(keys: readonly PartitionKey[]): void
  /** Not held any more. Those among them that are given again follow with `given`. */
  lost(keys: readonly PartitionKey[], error: TidemarkError): void
  idle(isIdle: boolean): void
  /** Another process has the place of this one's `instanceId`: it asks on. Told once for each time that it has to wait. */
  waiting(error: TidemarkError): void
  failed(error: TidemarkError): void
}

interface Held {
  readonly given: Given
  /** When the coordinator may take the member out if it still holds this, monotonic; infinite: it may keep it. */
  letGoByMs: number
}

type Subscribed = Pick<HeartbeatRequest, 'topics' | 'topicPattern' | 'clientId'>

export class Membership {
  readonly memberId: string
  readonly #runtime: RetryRuntime
  readonly #calls: GroupCalls
  readonly #settings: GroupSettings
  readonly #subscribed: Subscribed
  readonly #events: MembershipEvents
  readonly #held = new Map<PartitionKey, Held>()
  #epoch = 0
  #intervalMs = 0
  #graceMs = ANSWER_GRACE_MS
  /** When the coordinator may give the member up, monotonic; infinite before it has joined. */
  #endsMs = Number.POSITIVE_INFINITY
  /** The first `letGoByMs` of what is held. */
  #letGoByMs = Number.POSITIVE_INFINITY
  #answeredMs: number
  #isIdle = false
  /** Why the coordinator does not let it in for now. */
  #refusal: TidemarkError | undefined
  #isOver = false
  #sessionTimer: Timer | undefined
  /** Ends the heartbeat, or the pause, that is waiting. */
  #waiting: AbortController | undefined
  #isKicked = false
  /** The last wait was ended by ourselves. */
  #isCut = false
  /** The coordinator may have heard of this member. */
  #hasAsked = false

  constructor(runtime: RetryRuntime, calls: GroupCalls, settings: GroupSettings, subscribed: Subscribed, events: MembershipEvents) {
    this.#runtime = runtime
    this.#calls = calls
    this.#settings = settings
    this.#subscribed = subscribed
    this.#events = events
    this.#answeredMs = runtime.clock.monotonic()
    this.memberId = runtime.random.bytes(16).toString('base64url')
  }

  /** When a heartbeat was last answered, monotonic; before that, when the member was made. And why it has to wait for its place. */
  get signs(): Pick<Signs, 'answeredMs' | 'refusal'> {
    return { answeredMs: this.#answeredMs, refusal: this.#refusal }
  }

  start(): void {
    void this.#loop()
  }

  /** Ends the membership, if it may have ended at the coordinator: to be asked before anything is begun. */
  checkSession(): void {
    const nowMs = this.#runtime.clock.monotonic()
    if (nowMs >= this.#endsMs) this.#lose(new TidemarkError('UNKNOWN_MEMBER_ID', 'no heartbeat was answered for a session'))
    else if (nowMs >= this.#letGoByMs) this.#lose(new TidemarkError('UNKNOWN_MEMBER_ID', 'a partition was not let go of in time'))
  }

  /** Nothing of the partition is in hand any more, and its commits are made. */
  release({ key, epoch }: Given): void {
    this.checkSession()
    const held = this.#held.get(key)
    if (held === undefined || held.letGoByMs === Number.POSITIVE_INFINITY || held.given.epoch !== epoch) return
    this.#held.delete(key)
    this.#letGoByMs = this.#firstLetGoMs()
    this.kick()
  }

  /** The coordinator refused something: it has news. */
  kick(): void {
    if (this.#isKicked) return
    this.#isKicked = true
    this.#runtime.timers.nextTurn(() => this.#waiting?.abort())
  }

  /** Gives everything up at once. Never rejects: at worst the session has to end. */
  async leave(): Promise<void> {
    if (this.#isOver) return
    this.stop()
    if (!this.#hasAsked) return
    const intent = this.#settings.instanceId === '' ? HeartbeatIntent.LEAVE : HeartbeatIntent.LEAVE_FOR_A_WHILE
    this.#held.clear()
    const control = { timeoutMs: LEAVE_TIMEOUT_MS, attemptTimeoutMs: LEAVE_TIMEOUT_MS / 2 }
    await this.#calls.call('heartbeat', { ...this.#request(0), intent }, control).catch(() => {})
  }

  /** No more heartbeats. */
  stop(): void {
    this.#isOver = true
    this.#sessionTimer?.cancel()
    this.#waiting?.abort()
  }

  async #loop(): Promise<void> {
    for (let failureCount = 0; !this.#isOver; ) {
      const epoch = this.#epoch
      try {
        const isQuiet = await this.#beat()
        failureCount = 0
        if (isQuiet) await this.#pause(PAUSE_MS)
      } catch (caught) {
        if (this.#isOver) return
        const error = TidemarkError.from(caught)
        // Cut short by a kick, or by the end of the session: what is to be said now is another thing.
        if (this.#isCut || this.#epoch !== epoch) continue
        if (error.code === 'UNKNOWN_MEMBER_ID' || error.code === 'FENCED_MEMBER_EPOCH') this.#lose(error)
        else if (error.code === 'UNRELEASED_INSTANCE_ID') this.#refused(error)
        else if (!error.retriable) {
          this.stop()
          this.#events.failed(error)
          return
        }
        await this.#pause(backoffMs(++failureCount, this.#runtime.random, error.retryAfterMs))
      }
    }
  }

  /** True when it was answered before its time and brought nothing. */
  async #beat(): Promise<boolean> {
    const { clock } = this.#runtime
    const beforeEpoch = this.#epoch
    const maxWaitMs = beforeEpoch === 0 ? 0 : this.#intervalMs
    const sentMs = clock.monotonic()
    this.#isKicked = false
    this.#hasAsked = true
    const answer = await this.#waitingFor((signal) =>
      this.#calls.once('heartbeat', this.#request(maxWaitMs), { signal, timeoutMs: maxWaitMs + this.#graceMs }),
    )
    if (this.#isOver || this.#epoch !== beforeEpoch || answer.memberEpoch < beforeEpoch) return false
    this.#answeredMs = clock.monotonic()
    this.#refusal = undefined
    this.#intervalMs = answer.heartbeatIntervalMs
    this.#graceMs = Math.min(ANSWER_GRACE_MS, answer.sessionTimeoutMs * ANSWER_GRACE_SHARE)
    this.#endsMs = sentMs + answer.sessionTimeoutMs
    if (this.#endsMs <= this.#answeredMs) {
      this.checkSession()
      return false
    }
    this.#epoch = answer.memberEpoch
    this.#take(answer)
    return answer.memberEpoch === beforeEpoch && this.#answeredMs - sentMs < maxWaitMs / 2
  }

  #request(maxWaitMs: number): HeartbeatRequest {
    const byTopic = Map.groupBy(this.#held.values(), ({ given }) => given.topicId.toString('base64url'))
    return {
      group: this.#settings.group,
      memberId: this.memberId,
      memberEpoch: this.#epoch,
      intent: HeartbeatIntent.STAY,
      instanceId: this.#settings.instanceId,
      assignor: this.#settings.assignor,
      sessionTimeoutMs: this.#settings.sessionTimeoutMs,
      rebalanceTimeoutMs: this.#settings.rebalanceTimeoutMs,
      ...this.#subscribed,
      owned: [...byTopic].map(([topicId, held]) => ({
        topicId: Buffer.from(topicId, 'base64url'),
        partitions: held.map(({ given }) => given.partition),
      })),
      maxWaitMs,
    }
  }

  #take({ assignment, idle, rebalanceTimeoutMs }: HeartbeatResponse): void {
    const wanted = new Map(assignment.flatMap(givenOf).map((given) => [given.key, given]))
    const fenced = [...this.#held.values()].filter(({ given }) => (wanted.get(given.key)?.epoch ?? given.epoch) !== given.epoch)
    const taken = [...this.#held.values()].filter(
      ({ given, letGoByMs }) => letGoByMs === Number.POSITIVE_INFINITY && !wanted.has(given.key),
    )
    for (const { given } of fenced) this.#held.delete(given.key)
    for (const held of taken) held.letGoByMs = this.#answeredMs + rebalanceTimeoutMs
    const fresh = [...wanted.values()].filter(({ key }) => !this.#held.has(key))
    for (const given of fresh) this.#held.set(given.key, { given, letGoByMs: Number.POSITIVE_INFINITY })
    this.#letGoByMs = this.#firstLetGoMs()
    this.#watchSession()
    if (fenced.length > 0)
      this.#events.lost(keysOf(fenced), new TidemarkError('STALE_MEMBER_EPOCH', 'it was given anew, or its offset was reset'))
    if (taken.length > 0) this.#events.taken(keysOf(taken))
    if (fresh.length > 0) this.#events.given(fresh)
    if (idle === this.#isIdle) return
    this.#isIdle = idle
    this.#events.idle(idle)
  }

  #refused(error: TidemarkError): void {
    if (this.#refusal === undefined) this.#events.waiting(error)
    this.#refusal = error
  }

  #lose(error: TidemarkError): void {
    const keys = [...this.#held.keys()]
    this.#held.clear()
    this.#epoch = 0
    this.#endsMs = Number.POSITIVE_INFINITY
    this.#letGoByMs = Number.POSITIVE_INFINITY
    this.#sessionTimer?.cancel()
    this.#waiting?.abort()
    if (keys.length > 0) this.#events.lost(keys, error)
  }

  #firstLetGoMs(): number {
    return [...this.#held.values()].reduce((first, { letGoByMs }) => Math.min(first, letGoByMs), Number.POSITIVE_INFINITY)
  }

  #watchSession(): void {
    const { clock, timers } = this.#runtime
    const endsMs = Math.min(this.#endsMs, this.#letGoByMs)
    this.#sessionTimer?.cancel()
    this.#sessionTimer = timers.after(Math.max(0, endsMs - clock.monotonic()), () => this.checkSession())
  }

  async #pause(ms: number): Promise<void> {
    await this.#waitingFor((signal) => pause(ms, this.#runtime.timers, signal)).catch(() => {})
  }

  async #waitingFor<T>(wait: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const abort = new AbortController()
    this.#waiting = abort
    try {
      return await wait(abort.signal)
    } finally {
      this.#waiting = undefined
      this.#isCut = abort.signal.aborted
    }
  }
}

function givenOf({ topic, topicId, assignedEpoch, partitions }: HeartbeatResponse['assignment'][number]): Given[] {
  const id = topicId.toString('base64url')
  return partitions.map((partition) => ({ key: `${id}/${partition}`, topic, topicId, partition, epoch: assignedEpoch }))
}

function keysOf(held: readonly Held[]): PartitionKey[] {
  return held.map(({ given }) => given.key)
}
