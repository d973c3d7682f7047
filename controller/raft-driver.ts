/**
 * Drives the Raft core of one controller.
 *
 * ```
 * input ──> core ──ready──> send what may leave ─> write, synced ─> send what promised that ─> apply, deliver ─> advance
 *  tick, message, proposal  └──────────────────────── again, until the core has nothing to do ───────────────────────┘
 * ```
 * One `Ready` at a time; inputs come in meanwhile. A write that fails ends the driver, and the node with it: what is on
 * disk is not known any more, and nobody may vote by guess.
 */
import { TidemarkError } from '../protocol/errors.ts'
import { MetadataBatch } from '../protocol/gen/tidemark/v1/metadata.ts'
import { QuorumSnapshot } from '../protocol/gen/tidemark/v1/quorum.ts'
import { invariant } from '../runtime/invariant.ts'
import type { Timer } from '../runtime/runtime.ts'
import { Delivery } from './delivery.ts'
import { LeaderDoubt } from './leader-doubt.ts'
import { decodeSnapshot } from './quorum-codec.ts'
import type { QuorumMembers } from './quorum-members.ts'
import { checkSender, forgotten } from './quorum-sender.ts'
import type { QuorumReceiver, QuorumSender, QuorumTransport } from './quorum-transport.ts'
import { type Entry, type Message, payloadBytes } from './raft/messages.ts'
import { RawNode, type Ready, type ReadState } from './raft/raw-node.ts'
import type { MemoryStorage } from './raft/storage.ts'
import type { RaftDriverOptions } from './raft-driver-options.ts'

/** Batches, or bytes of them, between two snapshots: what is replayed at a start, and kept in memory. */
export const SNAPSHOT_EVERY = 5000
export const SNAPSHOT_EVERY_BYTES: number = 16 * 1024 * 1024

/** Entries kept behind a snapshot, for followers that are a little behind, as a part of those between two; of large ones fewer. */
const ENTRIES_KEPT_PART = 0.2
const LARGE_ENTRIES_KEPT = 10

const MiB = 1024 * 1024
const LIMITS = {
  maxMessageBytes: MiB,
  maxCommittedBytes: 8 * MiB,
  maxUncommittedBytes: 64 * MiB,
  maxInflightMessages: 64,
  maxInflightBytes: 16 * MiB,
}

export interface RaftDriverEvents {
  /** `offset`: of the newest batch delivered. */
  applied(entry: Entry, offset: number): void
  /** A `Ready` is done. `appliedIndex`: of the newest entry applied. */
  advanced(readStates: readonly ReadState[], appliedIndex: number): void
  /** It ended, and why. */
  failedToGoOn(error: TidemarkError): void
}

export class RaftDriver implements QuorumReceiver {
  readonly raw: RawNode
  readonly members: QuorumMembers
  readonly delivery: Delivery = new Delivery()
  readonly #options: RaftDriverOptions
  readonly #storage: MemoryStorage
  readonly #transport: QuorumTransport
  readonly #doubt: LeaderDoubt
  #events: RaftDriverEvents = { applied() {}, advanced() {}, failedToGoOn() {} }
  #ticks: Timer | undefined
  #appliedIndex = 0
  #appliedTerm = 0
  #bytesSinceSnapshot = 0
  readonly #snapshotEvery: number
  #working: Promise<void> | undefined
  /** Why nothing is done any more. */
  #end: TidemarkError | undefined

  /** See `open-raft.ts`. */
  constructor(options: RaftDriverOptions, storage: MemoryStorage, members: QuorumMembers) {
    const { electionTimeoutMs, heartbeatIntervalMs, nodeId, runtime } = options
    this.#options = options
    this.#snapshotEvery = options.snapshotEvery ?? SNAPSHOT_EVERY
    this.#storage = storage
    this.members = members
    const { meta, data } = storage.snapshot()
    this.raw = new RawNode({
      ...LIMITS,
      id: nodeId,
      storage,
      applied: meta.index,
      electionTicks: Math.max(2, Math.round(electionTimeoutMs / heartbeatIntervalMs)),
      heartbeatTicks: 1,
      preVote: true,
      checkQuorum: true,
      random: () => runtime.random.float(),
    })
    if (meta.index > 0) this.#install(data)
    this.#transport = options.openTransport(this)
    this.#doubt = new LeaderDoubt(this.raw, runtime, heartbeatIntervalMs, (give) => this.input(give))
  }

  get nodeId(): number {
    return this.#options.nodeId
  }

  /** Term of the newest entry applied. */
  get appliedTerm(): number {
    return this.#appliedTerm
  }

  /** From here on time passes. */
  start(events: RaftDriverEvents): void {
    const { heartbeatIntervalMs, runtime } = this.#options
    this.#events = events
    this.#ticks = runtime.timers.every(heartbeatIntervalMs, () => this.input(() => this.raw.tick()))
    this.#work()
  }

  /** Gives the core something to do. What `give` returns is returned; undefined once the driver has ended. */
  input<Result>(give: () => Result): Result | undefined {
    if (this.#end !== undefined) return undefined
    try {
      const result = give()
      this.#work()
      return result
    } catch (error) {
      // The core throws when its rules are broken: nothing it says can be relied on then.
      this.#fail(error)
      return undefined
    }
  }

  receive(message: Message, sender: QuorumSender): void {
    const { nodeId, isOlderDisk } = this.#options
    const { toDirectoryId } = sender
    checkSender(message.from, sender, { nodeId, clusterId: this.#options.clusterId(), members: this.members, isOlderDisk })
    if (toDirectoryId !== '' && toDirectoryId !== this.#options.directoryId) {
      this.#mistaken(toDirectoryId)
      return
    }
    if (message.to !== nodeId) throw new TidemarkError('INVALID_REQUEST', `a message for node ${message.to} reached node ${nodeId}`)
    // A leader commits by heartbeat only what this node has said is on its disk.
    const end = this.#storage.lastIndex()
    if (message.type === 'heartbeat' && message.commit > end) this.#fail(forgotten(this.#options, message.commit, end))
    else this.input(() => this.raw.step(message))
  }

  unreachable(nodeId: number): void {
    this.input(() => this.raw.reportUnreachable(nodeId))
  }

  disconnected(nodeId: number, refusal?: Error): void {
    if (refusal !== undefined) this.#options.runtime.log.warn('quorum.refused', { nodeId, error: refusal })
    this.unreachable(nodeId)
    this.#doubt.disconnected(nodeId)
  }

  snapshotSent(nodeId: number, isDelivered: boolean): void {
    this.input(() => this.raw.reportSnapshot(nodeId, isDelivered))
  }

  async close(): Promise<void> {
    this.#end ??= new TidemarkError('SHUTTING_DOWN', undefined, { outcome: 'failed' })
    this.#ticks?.cancel()
    this.#doubt.close()
    await this.#working
    await this.#transport.close()
    await this.#options.store.close()
  }

  #work(): void {
    if (this.#end !== undefined || !this.raw.hasReady()) return
    this.#working ??= this.#drain().finally(() => {
      this.#working = undefined
      // What came in after the last look.
      this.#work()
    })
  }

  async #drain(): Promise<void> {
    try {
      while (this.#end === undefined && this.raw.hasReady()) {
        await this.#take(this.raw.ready())
        if (this.#isSnapshotDue) await this.#snapshot()
      }
    } catch (error) {
      this.#fail(error)
    }
  }

  async #take(ready: Ready): Promise<void> {
    this.#send(ready.messages)
    await this.#persist(ready)
    this.#send(ready.messagesAfterPersist)
    if (ready.snapshot !== undefined) this.#install(ready.snapshot.data)
    let isMembershipNew = false
    for (const entry of ready.committedEntries) isMembershipNew = this.#apply(entry) || isMembershipNew
    this.raw.advance()
    this.#events.advanced(ready.readStates, this.#appliedIndex)
    // A new member must find itself in the snapshot it is sent.
    if (isMembershipNew) await this.#snapshot()
  }

  async #persist({ hardState, entries, snapshot, mustSync }: Ready): Promise<void> {
    const { store } = this.#options
    const isPinNew = this.members.takeNews()
    if (snapshot !== undefined) {
      await store.saveSnapshot(snapshot, { compactTo: snapshot.meta.index, isForeign: true })
      this.#storage.applySnapshot(snapshot)
    }
    const current = hardState ?? this.#storage.initialState().hardState
    // The commit index alone need not be written: it is found out again.
    if (mustSync || isPinNew) await store.save({ hardState: current, entries, directories: this.members.directories })
    this.#storage.append(entries)
    this.#storage.setHardState(current)
  }

  /** True when the members changed. */
  #apply(entry: Entry): boolean {
    invariant(entry.index === this.#appliedIndex + 1, `entry ${this.#appliedIndex + 1} is applied next, not ${entry.index}`)
    this.#appliedIndex = entry.index
    this.#appliedTerm = entry.term
    this.#bytesSinceSnapshot += payloadBytes(entry)
    if (entry.type === 'confChange') {
      this.members.apply(entry.change)
      this.raw.applyConfChange(entry.change)
      this.#events.applied(entry, this.delivery.nextOffset - 1)
      return true
    }
    // An empty one begins a term and is nobody's.
    if (entry.data.length > 0) this.#events.applied(entry, this.delivery.deliver(MetadataBatch.decode(entry.data)))
    return false
  }

  #install(data: Uint8Array): void {
    const { index, term, voters, learners, metadata } = decodeSnapshot(data)
    this.#appliedIndex = index
    this.#appliedTerm = term
    this.members.replaceAll([...voters, ...learners])
    this.delivery.replace(metadata?.version ?? 0, () => metadataOf(data))
  }

  get #isSnapshotDue(): boolean {
    const count = this.delivery.nextOffset - this.delivery.snapshotVersion
    return count >= this.#snapshotEvery || (count > 0 && this.#bytesSinceSnapshot >= SNAPSHOT_EVERY_BYTES)
  }

  /** Replaces the entries up to what is applied, but for the newest, by a snapshot. */
  async #snapshot(): Promise<void> {
    const metadata = this.delivery.takeSnapshot()
    const term = this.#storage.term(this.#appliedIndex)
    if (metadata === undefined || term === undefined) return
    const { confState } = this.raw.status()
    const voters = this.members.describe(confState.voters)
    const learners = this.members.describe(confState.learners)
    const data = QuorumSnapshot.encode({ index: this.#appliedIndex, term, voters, learners, metadata }).finish()
    const snapshot = this.#storage.createSnapshot(this.#appliedIndex, confState, data)
    const kept = this.#bytesSinceSnapshot >= SNAPSHOT_EVERY_BYTES ? LARGE_ENTRIES_KEPT : Math.ceil(this.#snapshotEvery * ENTRIES_KEPT_PART)
    const compactTo = Math.max(this.#storage.firstIndex() - 1, this.#appliedIndex - kept)
    await this.#options.store.saveSnapshot(snapshot, { compactTo, isForeign: false })
    this.#storage.compact(compactTo)
    this.delivery.compact(metadata.version, () => metadataOf(data), kept)
    this.#bytesSinceSnapshot = 0
  }

  #send(messages: readonly Message[]): void {
    const { clusterId, directoryId, run = { starts: 0, incarnationId: '' } } = this.#options
    for (const message of messages) {
      const to = this.members.get(message.to)
      if (to !== undefined)
        this.#transport.send({ ...to, ...this.#options.addressOf?.(message.to) }, message, {
          clusterId: clusterId(),
          directoryId,
          toDirectoryId: to.directoryId,
          ...run,
        })
    }
  }

  /**
   * The others take this node for one that voted with another disk. Whoever is no voter, or was told to join, waits until they have let it in: what its
   * store says of voters may be from a start as a first voter, in vain.
   */
  #mistaken(expected: string): void {
    const { nodeId, directoryId, firstVoters } = this.#options
    if (firstVoters.length === 0 || !this.raw.status().confState.voters.includes(nodeId)) return
    this.#fail(
      new TidemarkError(
        'DATA_DIR_INVALID',
        `controller ${nodeId} voted with the data directory ${expected}, and this is ${directoryId}: what it promised is not here. Bring the old directory back, or start with \`join\` instead of \`voters\` to be let in anew`,
      ),
    )
  }

  #fail(cause: unknown): void {
    const message = `the metadata log failed: ${cause instanceof Error ? cause.message : String(cause)}`
    const isRefusal = TidemarkError.is(cause) && (cause.code === 'DATA_DIR_INVALID' || cause.code === 'DATA_DIR_OUTDATED')
    this.#end ??= isRefusal ? cause : new TidemarkError('STORAGE_FAILED', message, { cause, outcome: 'failed' })
    this.#ticks?.cancel()
    this.#events.failedToGoOn(this.#end)
  }
}

function metadataOf(data: Uint8Array): NonNullable<QuorumSnapshot['metadata']> {
  return decodeSnapshot(data).metadata ?? { version: 0, records: [] }
}
