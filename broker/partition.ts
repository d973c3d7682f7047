/**
 * One partition on this node: its log, whether it leads or follows, and its high watermark.
 *
 * The high watermark is the offset up to which records are committed: as durable as the topic asks, on every replica that counts. Consumers read
 * below it, acknowledgements wait for it. It never goes back. A leader works it out (`replication/leader-state.ts`), a follower is told.
 */
import { minInsyncOf } from '../controller/metadata/min-insync.ts'
import type { PartitionMetadata } from '../controller/metadata/image.ts'
import type { Appended, LogListener } from '../log/log-types.ts'
import type { PartitionLog } from '../log/partition-log.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'
import { Acknowledgements } from './acknowledgements.ts'
import type { ByteBudget } from './backpressure.ts'
import { countsFlushed, durableOffset } from './durability.ts'
import type { Reached } from './offset-waiters.ts'
import type { PartitionHost, PartitionParts } from './partition-host.ts'
import * as refusals from './partition-refusals.ts'
import type { ParkedFetch, ParkingPlace } from './purgatory.ts'
import { type Decided, type IsrProposal, LeaderState, type ReplicaFetched } from './replication/leader-state.ts'
import { ParkedReplicas } from './replication/parked-replicas.ts'

export class Partition implements LogListener, ParkingPlace {
  readonly budget: ByteBudget
  readonly parked: Set<ParkedFetch> = new Set()
  /** Fetches of followers that wait for more. */
  readonly parkedReplicas: ParkedReplicas = new ParkedReplicas()
  readonly #host: PartitionHost<Partition>
  #log: PartitionLog
  #config: TopicConfig
  #metadata: PartitionMetadata
  #leader: LeaderState | undefined
  #highWatermark: number
  #isChanging = false
  readonly #acks = new Acknowledgements()
  #retired: TidemarkError | undefined

  constructor(parts: PartitionParts<Partition>) {
    this.#log = parts.log
    this.budget = parts.budget
    this.#config = parts.config
    this.#metadata = parts.metadata
    this.#host = parts.host
    // Recovery has made everything that is left of the log durable. What of it other replicas have is found out.
    this.#highWatermark = parts.metadata.replicas.length === 1 ? parts.log.logEndOffset : parts.log.logStartOffset
    parts.log.setListener(this)
    this.#takeRole(parts.metadata)
  }

  get log(): PartitionLog {
    return this.#log
  }

  get topic(): string {
    return this.#log.topic
  }

  get partition(): number {
    return this.#log.partition
  }

  get name(): string {
    return `${this.topic}-${this.partition}`
  }

  get topicId(): string {
    return this.#log.topicId
  }

  get config(): TopicConfig {
    return this.#config
  }

  get metadata(): PartitionMetadata {
    return this.#metadata
  }

  get leaderEpoch(): number {
    return this.#metadata.leaderEpoch
  }

  get isLeader(): boolean {
    return this.#leader !== undefined
  }

  /** Its log is being cut or begun anew: until that is over nobody is told what is in it, and nothing is appended. */
  get isChanging(): boolean {
    return this.#isChanging
  }

  get isRetired(): boolean {
    return this.#retired !== undefined
  }

  get highWatermark(): number {
    return this.#highWatermark
  }

  /** Every replica has everything below on disk, as far as a leader knows; 0 for a follower. */
  get replicatedBelow(): number {
    return this.#leader?.replicatedOffset(this.#log.flushedOffset) ?? 0
  }

  get isWaiting(): boolean {
    return this.#acks.size > 0
  }

  configure(config: TopicConfig): void {
    this.#config = config
    this.#log.configure(config)
    // Other settings may commit what was waiting, or make it wait for ever.
    this.advanced()
    this.#reportTooFew()
  }

  /** The controller has decided something about the partition. */
  follow(metadata: PartitionMetadata): void {
    if (metadata.partitionEpoch <= this.#metadata.partitionEpoch) return
    this.#metadata = metadata
    this.#takeRole(metadata)
  }

  /** Throws unless this node leads the partition in `leaderEpoch` (undefined: the sender does not know and does not care). */
  checkLeadership(leaderEpoch: number | undefined): void {
    if (this.#retired !== undefined) throw this.#retired
    if (this.#leader === undefined) throw this.#notLeader()
    if (leaderEpoch !== undefined && leaderEpoch !== this.leaderEpoch) throw refusals.wrongEpoch(this.name, leaderEpoch, this.leaderEpoch)
  }

  /** Throws while this node does not know yet what earlier leaders committed: its high watermark would be too low. */
  checkWatermarkKnown(): void {
    if (this.#leader === undefined || this.#highWatermark >= this.#leader.epochStartOffset) return
    throw refusals.watermarkUnknown(this.name, this.#host.nodeId)
  }

  /** Throws when an append could not be committed on as many replicas as the topic asks for. */
  checkEnoughReplicas(): void {
    const { isr, minIsr } = this.#insync()
    if (isr.length < minIsr) throw refusals.tooFew(this.name, isr.length, minIsr)
  }

  /** Appends one batch; the buffer belongs to the log from here on. Throws `TidemarkError`, then nothing was appended. */
  append(batch: Buffer): Appended {
    const appended = this.#log.append(batch, { leaderEpoch: this.leaderEpoch })
    if (!appended.duplicate) {
      this.#acks.appended(appended.lastOffset + 1, batch.length)
      if (this.#config.durability === 'none') this.advanced()
    }
    return appended
  }

  /** Calls `reached` once the high watermark is at least `offset`, or with an error when that will not happen in time. */
  whenCommitted(offset: number, deadlineMs: number, reached: Reached): void {
    this.#wait('committed', this.#highWatermark, offset, deadlineMs, reached)
  }

  /** As `whenCommitted`, once this node alone has it as durable as the topic asks. */
  whenDurable(offset: number, deadlineMs: number, reached: Reached): void {
    this.#wait('durable', durableOffset(this.#log, this.#config), offset, deadlineMs, reached)
  }

  /** Fails acknowledgements whose deadline (monotonic) has passed. What they wait for may still happen. */
  expireWaiters(nowMs: number): void {
    this.#acks.expire(nowMs, () => refusals.timedOut(this.name))
  }

  /** A follower has fetched: it has what it says it has. Throws `INELIGIBLE_REPLICA` when it is none of ours. */
  replicaFetched(fetched: ReplicaFetched): void {
    if (this.#leader?.isReplica(fetched.nodeId) !== true) throw refusals.noReplica(this.name, fetched.nodeId)
    this.#leader.fetched(fetched, this.#log.writtenOffset, countsFlushed(this.#config))
    this.reviewIsr()
  }

  /** The replica may be made leader, and has not everything that is committed. */
  lacksCommitted(fetched: ReplicaFetched): boolean {
    return this.#leader?.lacksCommitted(fetched, this.#highWatermark, countsFlushed(this.#config)) === true
  }

  /** Looks how far records are committed by now, whether somebody has fallen behind or caught up, and has the controller asked if so. */
  reviewIsr(): void {
    if (this.#leader === undefined) return
    this.advanced()
    const proposal = this.#leader.propose(this.#highWatermark, this.#log.writtenOffset, countsFlushed(this.#config))
    if (proposal !== undefined) this.#host.isrWanted(this, proposal)
  }

  /** The controller has answered a proposal; the metadata says the same, later. */
  isrDecided(state: Decided): void {
    this.#leader?.update(state)
    this.advanced()
    this.#reportTooFew()
  }

  /** The controller has not done what was proposed. */
  isrRefused(proposal: IsrProposal): void {
    this.#leader?.refused(proposal)
    this.advanced()
  }

  /** The leader says how far records are committed, and how far every replica has them. */
  told(highWatermark: number, replicatedBelow: number): void {
    this.#log.compactor.replicated(replicatedBelow)
    if (this.#leader === undefined) this.#raise(Math.min(highWatermark, this.#log.logEndOffset))
  }

  /** The log is about to be cut or begun anew; `replaceLog` ends it. Should this node be made leader meanwhile, it leads afterwards. */
  beginChange(): void {
    this.#isChanging = true
  }

  /** From here on this is the log. What was committed is in it, unless the leader has deleted it. */
  replaceLog(log: PartitionLog): void {
    this.#isChanging = false
    this.#log = log
    this.#highWatermark = Math.max(log.logStartOffset, Math.min(this.#highWatermark, log.logEndOffset))
    if (this.#retired !== undefined) return
    log.setListener(this)
    if (log.config !== this.#config) log.configure(this.#config)
    this.#takeRole(this.#metadata)
    if (this.#leader === undefined) this.#host.flushed(this)
  }

  /** The log made progress, or what counts as committed may have changed. */
  advanced(): void {
    if (this.#leader === undefined) {
      this.#host.flushed(this)
      return
    }
    this.parkedReplicas.written(this.#log.writtenOffset)
    const own = durableOffset(this.#log, this.#config)
    this.#acks.durable(own)
    const offset = this.#leader.committable(own, this.#insync().minIsr, countsFlushed(this.#config))
    if (offset !== undefined) this.#raise(offset)
  }

  /** The log took appends back that never reached the disk. */
  undone(fromOffset: number, error: TidemarkError): void {
    this.#acks.undone(fromOffset, error)
    if (this.#leader === undefined) this.#host.flushed(this)
  }

  /** Ends the partition on this node: whoever waits gets `reason`. The log is the caller's to close or delete. */
  retire(reason: TidemarkError): void {
    this.#retired = reason
    this.#dismiss(reason)
  }

  #takeRole(metadata: PartitionMetadata): void {
    if (metadata.leader !== this.#host.nodeId || this.#isChanging) {
      const wasLeader = this.#leader !== undefined
      this.#leader = undefined
      if (wasLeader) this.#dismiss(this.#notLeader())
      return
    }
    if (this.#leader?.leaderEpoch === metadata.leaderEpoch) this.#leader.update(metadata)
    else {
      this.#leader = new LeaderState(this.#host.nodeId, metadata, this.#log.logEndOffset, this.#host)
      // Fetches of an earlier epoch wait for nothing any more.
      this.parkedReplicas.wakeAll()
    }
    this.advanced()
    this.#reportTooFew()
  }

  /** Whoever waits for a commit that cannot come learns so: the records are there, and may yet be committed. */
  #reportTooFew(): void {
    const { isr, minIsr } = this.#insync()
    if (isr.length < minIsr) this.#acks.rejectCommitted(refusals.tooFewAfterAppend(this.name, isr.length, minIsr))
  }

  #insync(): { readonly isr: readonly number[]; readonly minIsr: number } {
    return { isr: this.#leader?.isr ?? this.#metadata.isr, minIsr: minInsyncOf(this.#config, this.#metadata.replicas.length) }
  }

  #dismiss(reason: TidemarkError): void {
    this.#acks.dismiss(refusals.afterAppend(reason))
    for (const fetch of [...this.parked]) fetch.wake()
    this.parkedReplicas.wakeAll()
  }

  #notLeader(): TidemarkError {
    return refusals.notLeader(this.name, this.#host.nodeId, this.#metadata, this.#host.addressOf(this.#metadata.leader))
  }

  #wait(what: 'committed' | 'durable', present: number, offset: number, deadlineMs: number, reached: Reached): void {
    if (present >= offset) {
      reached(undefined)
      return
    }
    if (!this.isWaiting) this.#host.waiting(this)
    this.#acks.add(what, offset, deadlineMs, reached)
  }

  #raise(offset: number): void {
    if (offset <= this.#highWatermark) return
    this.#highWatermark = offset
    const bytes = this.#acks.committed(offset)
    for (const fetch of [...this.parked]) fetch.bytesCommitted(bytes)
  }
}
