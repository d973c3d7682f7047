/**
 * The metadata log of a quorum of controllers, one or more: what was agreed on, who may propose, and the proposals and reads
 * that wait. `raft-driver.ts` moves it.
 */
import { TidemarkError } from '../protocol/errors.ts'
import type { AlterQuorumRequest, DescribeQuorumResponse } from '../protocol/gen/tidemark/v1/cluster.ts'
import type { VoterDescription } from '../protocol/gen/tidemark/v1/controller.ts'
import { MetadataBatch } from '../protocol/gen/tidemark/v1/metadata.ts'
import { createDeferred, type Deferred } from '../runtime/deferred.ts'
import { invariant } from '../runtime/invariant.ts'
import type { Timer } from '../runtime/runtime.ts'
import type { Delivery } from './delivery.ts'
import type { Leadership, LogFollower, MetadataLog, Unfollow } from './metadata-log.ts'
import { PendingProposals } from './pending-proposals.ts'
import { alterQuorum, describeQuorum } from './quorum-changes.ts'
import { changeOf } from './quorum-codec.ts'
import type { QuorumMembers } from './quorum-members.ts'
import type { QuorumReceiver } from './quorum-transport.ts'
import type { ConfChange, Entry } from './raft/messages.ts'
import type { ProposeResult, ReadState, Status } from './raft/raw-node.ts'
import { openRaftDriver } from './open-raft.ts'
import type { RaftDriver, RaftDriverEvents } from './raft-driver.ts'
import type { RaftDriverOptions } from './raft-driver-options.ts'
import { ReadBarriers } from './read-barriers.ts'

/** One batch. The largest we make, a topic of 10,000 partitions, has under 2 MiB. */
export const BATCH_BYTES_MAX = 16 * 1024 * 1024

/** Proposals that may wait to be committed. */
export const PROPOSALS_MAX = 1024

/** A node looks whether it could lead soon after it started, before anyone's timeout. By chance within this part of the election timeout. */
const FIRST_CAMPAIGN_PART = 0.4

/** Takes the store over: from here on the log closes it. Nothing moves before `start`. */
export async function openRaftLog(options: RaftDriverOptions): Promise<RaftLog> {
  return new RaftLog(options, await openRaftDriver(options))
}

export class RaftLog implements MetadataLog, RaftDriverEvents {
  readonly #options: RaftDriverOptions
  readonly #driver: RaftDriver
  readonly #proposals = new PendingProposals()
  readonly #reads: ReadBarriers
  readonly #listeners = new Set<(leadership: Leadership) => void>()
  readonly #failed: Deferred<Error> = createDeferred<Error>()
  #leadership: Leadership = { leaderId: -1, epoch: 0, isActive: false }
  #firstCampaign: Timer | undefined
  /** Why nothing more is accepted. */
  #end: TidemarkError | undefined
  #closing: Promise<void> | undefined

  /** See `openRaftLog`. */
  constructor(options: RaftDriverOptions, driver: RaftDriver) {
    const { runtime, nodeId, electionTimeoutMs } = options
    this.#options = options
    this.#driver = driver
    this.#reads = new ReadBarriers(runtime.timers, `${nodeId}-${runtime.random.bytes(8).toString('hex')}`, 2 * electionTimeoutMs)
  }

  /** From here on time passes. */
  start(): void {
    const { electionTimeoutMs, nodeId, runtime } = this.#options
    this.#driver.start(this)
    const { voters } = this.status.confState
    const look = (): void => this.#lookForLeadership()
    if (voters.length === 1 && voters[0] === nodeId) look()
    else this.#firstCampaign = runtime.timers.after(electionTimeoutMs * FIRST_CAMPAIGN_PART * runtime.random.float(), look)
  }

  /** Where messages of other controllers go. */
  get receiver(): QuorumReceiver {
    return this.#driver
  }

  get members(): QuorumMembers {
    return this.#driver.members
  }

  /** For nodes that follow from afar. */
  get delivery(): Pick<Delivery, 'reaches' | 'batchesFrom' | 'snapshot' | 'snapshotVersion' | 'nextOffset'> {
    return this.#driver.delivery
  }

  get status(): Status {
    return this.#driver.raw.status()
  }

  get failed(): Promise<Error> {
    return this.#failed.promise
  }

  get committedOffset(): number {
    return this.#driver.delivery.nextOffset - 1
  }

  get leadership(): Leadership {
    return this.#leadership
  }

  onLeadership(listener: (leadership: Leadership) => void): Unfollow {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async propose(batch: MetadataBatch): Promise<number> {
    if (this.#proposals.count >= PROPOSALS_MAX)
      throw new TidemarkError('BUSY', `${PROPOSALS_MAX} metadata batches wait already`, { retryAfterMs: 500, outcome: 'failed' })
    const data = Buffer.from(MetadataBatch.encode(batch).finish())
    if (data.length > BATCH_BYTES_MAX)
      throw new TidemarkError('LIMIT_EXCEEDED', `a metadata batch of ${data.length} bytes, at most ${BATCH_BYTES_MAX} are allowed`)
    invariant(data.length > 0, 'a metadata batch says something')
    return this.#propose(() => this.#driver.raw.propose(data))
  }

  /** Adds or removes one member; resolves when that is committed. */
  async changeMembers(type: ConfChange['type'], member: VoterDescription): Promise<void> {
    await this.#propose(() => this.#driver.raw.proposeConfChange(changeOf(type, member)))
  }

  describeQuorum(): DescribeQuorumResponse {
    return describeQuorum(this)
  }

  alterQuorum(request: AlterQuorumRequest): Promise<void> {
    return alterQuorum(this, this.#options.runtime.timers, request)
  }

  /** Hands leadership over to another voter; resolves once it has gone, or after an election timeout. */
  async handOver(nodeId: number): Promise<void> {
    const { promise, resolve } = createDeferred<void>()
    const stop = this.onLeadership(({ isActive }) => {
      if (!isActive) resolve()
    })
    const timeout = this.#options.runtime.timers.after(this.#options.electionTimeoutMs, resolve)
    this.#driver.input(() => this.#driver.raw.transferLeader(nodeId))
    await promise
    stop()
    timeout.cancel()
  }

  readBarrier(): Promise<void> {
    if (this.#end !== undefined) return Promise.reject(this.#end)
    const { isDone, context } = this.#reads.ask(() => this.notController())
    this.#driver.input(() => {
      if (!this.#driver.raw.readIndex(context)) this.#reads.reject(context, this.notController())
    })
    return isDone
  }

  follow(fromOffset: number, follower: LogFollower): Unfollow {
    return this.#driver.delivery.follow(fromOffset, follower)
  }

  /** What whoever is not active answers: with where the active one is, when it knows. */
  notController(): TidemarkError {
    const { leaderId, epoch } = this.#leadership
    const leader = leaderId === this.#options.nodeId ? undefined : this.members.get(leaderId)
    return new TidemarkError(
      'NOT_CONTROLLER',
      leader === undefined
        ? `node ${this.#options.nodeId} is not the active controller, and knows of none`
        : `node ${leaderId} is the active controller`,
      {
        outcome: 'failed',
        ...(leader !== undefined && { leader: { nodeId: leaderId, leaderEpoch: epoch, host: leader.host, port: leader.port } }),
      },
    )
  }

  close(): Promise<void> {
    this.#closing ??= this.#stop()
    return this.#closing
  }

  applied({ index, term }: Entry, offset: number): void {
    this.#proposals.applied(index, term, offset)
  }

  advanced(readStates: readonly ReadState[], appliedIndex: number): void {
    for (const { index, context } of readStates) this.#reads.answered(context, index)
    this.#reads.applied(appliedIndex)
    this.#noteLeadership()
  }

  failedToGoOn(error: TidemarkError): void {
    this.#endWith(error)
    this.#failed.resolve(error)
  }

  async #stop(): Promise<void> {
    this.#endWith(new TidemarkError('SHUTTING_DOWN', undefined, { outcome: 'failed' }))
    await this.#driver.close()
  }

  #endWith(error: TidemarkError): void {
    this.#end ??= error
    this.#firstCampaign?.cancel()
    this.#proposals.rejectAll(new TidemarkError(error.code, error.message, { cause: error.cause, outcome: 'indeterminate' }))
    this.#reads.rejectAll(error)
  }

  #lookForLeadership(): void {
    if (this.#leadership.leaderId < 0) this.#driver.input(() => this.#driver.raw.campaign())
  }

  async #propose(propose: () => ProposeResult): Promise<number> {
    if (this.#end !== undefined) throw this.#end
    const result = this.#driver.input(propose)
    // The driver has ended in this very call.
    if (result === undefined) throw this.#end ?? new TidemarkError('SHUTTING_DOWN', undefined, { outcome: 'failed' })
    if (!result.ok) throw this.#refusal(result.reason)
    return this.#proposals.add(result.index, result.term)
  }

  #refusal(reason: Extract<ProposeResult, { ok: false }>['reason']): TidemarkError {
    switch (reason) {
      case 'not-leader':
      case 'removed':
      case 'transferring':
        return this.notController()
      case 'too-much-uncommitted':
        return new TidemarkError('BUSY', 'too much metadata waits to be committed', { retryAfterMs: 500, outcome: 'failed' })
      case 'pending-conf-change':
      case 'no-commit-in-term':
        return new TidemarkError('BUSY', 'another change of the quorum is under way', { retryAfterMs: 500, outcome: 'failed' })
      case 'last-voter':
        return new TidemarkError('INVALID_REQUEST', 'the last voter cannot leave the quorum', { outcome: 'failed' })
    }
  }

  #noteLeadership(): void {
    const { leader, role, term } = this.status
    // An entry of its own term is applied, so all those before it are.
    const isActive = role === 'leader' && this.#driver.appliedTerm === term
    const leaderId = leader === 0 ? -1 : leader
    const before = this.#leadership
    if (before.leaderId === leaderId && before.epoch === term && before.isActive === isActive) return
    this.#leadership = { leaderId, epoch: term, isActive }
    if (before.isActive && !isActive) {
      const { message, leader: hint } = this.notController()
      this.#proposals.rejectAll(new TidemarkError('NOT_CONTROLLER', message, { outcome: 'indeterminate', leader: hint }))
    }
    if (role !== 'leader') this.#reads.rejectAll(this.notController())
    for (const listener of [...this.#listeners]) listener(this.#leadership)
  }
}
