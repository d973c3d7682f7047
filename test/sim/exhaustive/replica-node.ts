/**
 * One node with a replica, over its lives: the real `Partition` with the real rules of leader and follower on a log in memory, and
 * what a node does with them, one step at a time. As with Raft, a step is tried once for each state of a node and each input.
 *
 * The rules have to be loaded with their private fields open (`open-core.ts`).
 *
 * What is simpler than in a node: a log writes at once what is appended and is cut at once, and metadata comes whole: a node hears of all that was
 * decided so far.
 */
import { hash } from 'node:crypto'
import { Partition } from '../../../broker/partition.ts'
import { nextFetch, stepFor } from '../../../broker/replication/follower-rules.ts'
import { isAnswer, isPresent, settle } from '../../../broker/replication/isr-changer.ts'
import { divergenceOf, noteProgress } from '../../../broker/replication/leader-rules.ts'
import type { IsrProposal } from '../../../broker/replication/leader-state.ts'
import { LeaderEpochs } from '../../../log/leader-epochs.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import { toErrorDetail } from '../../../protocol/error-wire.ts'
import type { AlterPartitionResult } from '../../../protocol/gen/tidemark/v1/controller.ts'
import type { ReplicaFetchPartition, ReplicaFetchResult } from '../../../protocol/gen/tidemark/v1/replica.ts'
import { Interned } from './interned.ts'
import { aboutOf, type Kind, kindOf } from './replica-input.ts'
import type { Images } from './replica-images.ts'
import { CHARS, decodeRecords, encodeRecords, MemoryLog, type StoredRecord } from './replica-log.ts'
import { copyOf, textOf } from './structure.ts'

export interface FetchRequest {
  readonly from: number
  readonly nodeEpoch: number
  readonly to: number
  readonly entry: ReplicaFetchPartition
}

export interface FetchAnswer {
  readonly to: number
  readonly nodeEpoch: number
  /** As asked. */
  readonly leaderEpoch: number
  readonly fetchOffset: number
  readonly result: ReplicaFetchResult
}

export interface IsrAnswer {
  readonly proposal: IsrProposal
  /** Undefined: refused as a whole. */
  readonly result: AlterPartitionResult | undefined
}

export interface View {
  readonly nodeId: number
  readonly isUp: boolean
  readonly nodeEpoch: number
  /** Number of the image it has heard of last. */
  readonly image: number
  readonly leaderEpoch: number
  readonly isLeader: boolean
  readonly highWatermark: number
  readonly records: readonly StoredRecord[]
  readonly flushedOffset: number
  /** Who its high watermark waits for, whether the controller has decided so or not. */
  readonly maximalIsr: readonly number[]
  /** The controller shall be asked for it. */
  readonly wanted: IsrProposal | undefined
  /** Number of what it would ask its leader; 0: nothing. */
  readonly fetch: number
}

export interface Step {
  readonly next: number
  /** Number of the answer to a fetch; 0: none. */
  readonly answer: number
  readonly wrong: string | undefined
}

/** Long enough for everything to be over. */
const LONG_MS = 1e9

/** What a partition asks of its node, and what the node is. */
class Host {
  readonly nodeId: number
  readonly nodeEpoch: number
  readonly images: Images
  readonly replicaLagMaxMs = 10_000
  readonly clock = { now: () => 0, monotonic: () => 0 }
  image: number
  wanted: IsrProposal | undefined

  constructor(nodeId: number, nodeEpoch: number, images: Images, image: number) {
    this.nodeId = nodeId
    this.nodeEpoch = nodeEpoch
    this.images = images
    this.image = image
  }

  isEligible(nodeId: number, nodeEpoch: number): boolean {
    const node = this.images.node(this.image, nodeId)
    return node.nodeEpoch === nodeEpoch && !node.fenced && !node.shuttingDown
  }

  addressOf(): undefined {
    return undefined
  }

  waiting(): void {}

  isrWanted(_partition: Partition, proposal: IsrProposal): void {
    this.wanted = proposal
  }

  flushed(): void {}
}

interface Replica {
  readonly nodeId: number
  log: MemoryLog
  /** Undefined while the node is down. */
  running: Running | undefined
}

interface Running {
  readonly host: Host
  readonly partition: Partition
}

/** The same for all, or part of the replica besides. */
const LEFT_OUT = new Set([
  ...['images', 'config', 'private_config', 'clock', 'budget', 'topicId', 'topic'],
  ...['listener', 'private_log', 'private_host', 'private_rules'],
])

export class Replicas {
  readonly #images: Images
  readonly #states = new Interned<{ readonly replica: Replica; readonly view: View }>()
  /** On their way; number 0 is none. */
  readonly requests = new Interned<FetchRequest | undefined>()
  readonly answers = new Interned<FetchAnswer | undefined>()
  readonly decisions = new Interned<IsrAnswer>()

  constructor(images: Images) {
    Object.freeze(images)
    this.#images = images
    this.requests.add('none', () => undefined)
    this.answers.add('none', () => undefined)
  }

  get count(): number {
    return this.#states.count
  }

  /** An empty one, up and running. */
  begin(nodeId: number): number {
    return this.#add(this.#open(nodeId, this.#images.first, []))
  }

  view(state: number): View {
    return this.#states.get(state).view
  }

  step(state: number, input: number): Step {
    const replica = copyOf(this.#states.get(state).replica)
    try {
      const answer = this.#perform(replica, kindOf(input), aboutOf(input))
      const answerNumber = answer === undefined ? 0 : this.answers.add(JSON.stringify(answer), () => answer)
      return { next: this.#add(replica), answer: answerNumber, wrong: undefined }
    } catch (error) {
      return { next: state, answer: 0, wrong: error instanceof Error ? error.message : String(error) }
    }
  }

  #perform(replica: Replica, kind: Kind, about: number): FetchAnswer | undefined {
    const { running, log } = replica
    if (kind === 'start' || kind === 'startEmpty') {
      Object.assign(replica, this.#open(replica.nodeId, about, kind === 'start' ? log.records : []))
      return undefined
    }
    if (running === undefined) throw new Error('a node that is down does nothing')
    const { partition, host } = running
    switch (kind) {
      case 'hear':
        host.image = about
        partition.follow(this.#images.partition(about))
        return undefined
      case 'append':
        append(partition, log, CHARS[about] as string)
        return undefined
      case 'flush':
        log.flush()
        return undefined
      case 'review':
        partition.reviewIsr()
        return undefined
      case 'wait':
        letTimePass(partition)
        partition.reviewIsr()
        return undefined
      case 'fetch':
        return this.#answer(log, running, this.requests.get(about) as FetchRequest)
      case 'take':
        this.#take(log, partition, this.answers.get(about) as FetchAnswer)
        return undefined
      case 'decided':
        this.#settle(running, this.decisions.get(about))
        return undefined
      case 'crash':
        replica.log = this.#newLog(log.records.slice(0, about))
        replica.running = undefined
        return undefined
    }
  }

  /** As `broker/operations/replica-fetch.ts` does. */
  #answer(log: MemoryLog, { host, partition }: Running, { from, nodeEpoch, entry }: FetchRequest): FetchAnswer {
    const answered = (result: Partial<ReplicaFetchResult>): FetchAnswer => ({
      to: from,
      nodeEpoch,
      leaderEpoch: entry.leaderEpoch,
      fetchOffset: entry.fetchOffset,
      result: { ...NOTHING, topicId: entry.topicId, ...result },
    })
    try {
      if (nodeEpoch < this.#images.node(host.image, from).nodeEpoch) throw new TidemarkError('FENCED_NODE_EPOCH', 'an earlier run')
      partition.checkLeadership(entry.leaderEpoch)
      noteProgress(partition, entry, { nodeId: from, nodeEpoch })
      const { highWatermark } = partition
      const diverging = divergenceOf(partition, entry)
      if (diverging !== undefined) return answered({ highWatermark, diverging })
      return answered({ highWatermark, batches: encodeRecords(log.records.slice(entry.fetchOffset)) })
    } catch (error) {
      if (!TidemarkError.is(error)) throw error
      return answered({ error: toErrorDetail(error) })
    }
  }

  /** As `broker/replication/leader-fetcher.ts` does. */
  #take(log: MemoryLog, partition: Partition, { leaderEpoch, fetchOffset, result }: FetchAnswer): void {
    // Since then it has begun to follow somebody else, or to lead.
    if (leaderEpoch !== partition.leaderEpoch || partition.isLeader) return
    const step = stepFor(log, fetchOffset, result)
    switch (step.kind) {
      case 'append':
        for (const record of decodeRecords(step.batches)) log.appendAsFollower(record)
        break
      case 'truncate':
      case 'reset':
        partition.beginChange()
        log.truncate(step.offset)
        partition.replaceLog(log as never)
        return
      case 'wait':
        return
      case 'nothing':
        break
    }
    partition.told(result.highWatermark, result.replicatedBelow)
  }

  /** As `broker/replication/isr-changer.ts` does. */
  #settle({ host, partition }: Running, { proposal, result }: IsrAnswer): void {
    const { wanted } = host
    const isOfThis = wanted !== undefined && JSON.stringify(wanted) === JSON.stringify(proposal)
    if (isAnswer(result)) {
      if (isOfThis) host.wanted = undefined
      settle(partition, isOfThis ? wanted : proposal, result)
    } else if (isOfThis && !isPresent(partition, wanted)) host.wanted = undefined
  }

  #open(nodeId: number, image: number, records: readonly StoredRecord[]): Replica {
    const { nodeEpoch } = this.#images.node(image, nodeId)
    const host = new Host(nodeId, nodeEpoch, this.#images, image)
    const log = this.#newLog(records)
    const metadata = this.#images.partition(image)
    const { config } = this.#images.topic(this.#images.first)
    const partition = new Partition({ log: log as never, config, metadata, budget: undefined as never, host: host as never })
    return { nodeId, log, running: { host, partition } }
  }

  #newLog(records: readonly StoredRecord[]): MemoryLog {
    const { name, topicId, config } = this.#images.topic(this.#images.first)
    return new MemoryLog({ topic: name, topicId, config, records, leaderEpochs: new LeaderEpochs() })
  }

  #add(replica: Replica): number {
    const digest = hash('sha1', textOf(replica, LEFT_OUT), 'base64')
    return this.#states.add(digest, () => ({ replica, view: this.#viewOf(replica) }))
  }

  #viewOf({ nodeId, log, running }: Replica): View {
    const { records, flushedOffset } = log
    if (running === undefined) return { ...DOWN, nodeId, records, flushedOffset }
    const { host, partition } = running
    const { isLeader, leaderEpoch, highWatermark } = partition
    const leaderState = (partition as unknown as OpenPartition).private_leader
    const { wanted } = host
    return {
      nodeId,
      isUp: true,
      nodeEpoch: host.nodeEpoch,
      image: host.image,
      leaderEpoch,
      isLeader,
      highWatermark,
      records,
      flushedOffset,
      maximalIsr: [...(leaderState?.private_isr ?? []), ...(leaderState?.private_proposal?.isr.map((member) => member.nodeId) ?? [])],
      wanted: wanted !== undefined && isPresent(partition, wanted) ? wanted : undefined,
      fetch: this.#fetchOf(log, running),
    }
  }

  #fetchOf(log: MemoryLog, { host, partition }: Running): number {
    const { nodeId, nodeEpoch } = host
    const { leader, leaderEpoch } = partition.metadata
    if (partition.isLeader || leader < 0 || leader === nodeId) return 0
    const entry = nextFetch(log as never, { topicId: log.topicId, partition: log.partition, leaderEpoch, suspect: false }, 1)
    const request = { from: nodeId, nodeEpoch, to: leader, entry }
    return this.requests.add(JSON.stringify(request), () => request)
  }
}

const DOWN = {
  isUp: false,
  nodeEpoch: -1,
  image: -1,
  leaderEpoch: -1,
  isLeader: false,
  highWatermark: 0,
  maximalIsr: [],
  wanted: undefined,
  fetch: 0,
}

const NOTHING = {
  topicId: '',
  partition: 0,
  error: undefined,
  highWatermark: 0,
  logStartOffset: 0,
  diverging: undefined,
  batches: Buffer.alloc(0),
  // Nothing is compacted here.
  sparseBelow: 0,
  replicatedBelow: 0,
}

interface OpenProgress {
  caughtUpAtMs: number
  goal: { readonly endOffset: number; atMs: number } | undefined
}

interface OpenPartition {
  readonly private_leader:
    | {
        private_startedAtMs: number
        private_askAgainAtMs: number
        readonly private_isr: readonly number[]
        readonly private_proposal: IsrProposal | undefined
        readonly private_progress: ReadonlyMap<number, OpenProgress>
      }
    | undefined
}

function append(partition: Partition, log: MemoryLog, text: string): void {
  try {
    partition.checkLeadership(undefined)
    partition.checkEnoughReplicas()
  } catch (error) {
    if (!TidemarkError.is(error)) throw error
    return
  }
  partition.append(Buffer.from(text))
  log.written()
}

/** The clock of a node stands still; instead, all that it remembers is long ago. */
function letTimePass(partition: Partition): void {
  const leader = (partition as unknown as OpenPartition).private_leader
  if (leader === undefined) return
  leader.private_startedAtMs = -LONG_MS
  leader.private_askAgainAtMs = -LONG_MS
  for (const progress of leader.private_progress.values()) {
    progress.caughtUpAtMs = Math.min(progress.caughtUpAtMs, -LONG_MS)
    if (progress.goal !== undefined) progress.goal = { ...progress.goal, atMs: -LONG_MS }
  }
}
