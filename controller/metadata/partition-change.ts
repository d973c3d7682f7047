/**
 * How a partition changes: who is in sync, who leads. Pure.
 *
 * Who may lead, in this order: a replica in sync, in the order of the replicas; an eligible one (ELR), which left the ISR when
 * it became too small and therefore has everything the high watermark covers; nobody. Only an operator's explicit act makes a
 * replica lead that may lack records.
 *
 * ```
 * every change:             partition epoch + 1
 * another leader, or none,
 * or a replica less, or one
 * that begins anew:         leader epoch + 1
 * |ISR| >= min ISR:         ELR is empty
 * ```
 */
import type { MetadataRecord, PartitionRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import type { MetadataImage, PartitionMetadata, TopicMetadata } from './image.ts'
import { minInsyncOf } from './min-insync.ts'
import { partitionRecord } from './partition-record.ts'

export type Election =
  /** The leader stays, if it may. */
  | 'keep'
  /** The first replica, if it is in sync. */
  | 'preferred'
  /** Where nobody may lead who has everything: who led last, else the first replica alive. */
  | 'unclean'

export interface WantedChange {
  /** Replicas, the preferred leader first. */
  readonly replicas?: readonly number[]
  readonly isr?: readonly number[]
  readonly addingReplicas?: readonly number[]
  readonly removingReplicas?: readonly number[]
  /** Whose copies are not to be trusted any more, in sync or eligible. */
  readonly distrusted?: readonly number[]
  /** What replicas said to have, in the present run of their nodes, counts no more. */
  readonly startsEpoch?: boolean
  /**
   * Counts as a change of the partition in any case: a leader that still knows the former minimum must not be told of a smaller ISR, in which it would commit
   * by itself what those that the new minimum makes eligible do not have. Its proposals name the former epoch of the partition, and are refused.
   */
  readonly minIsrChanged?: boolean
  readonly election?: Election
}

/** The nodes as they are when the change takes effect. */
export interface NodeStates {
  /** Alive: may go on leading. */
  readonly isAlive: (nodeId: number) => boolean
  /** Alive and not about to stop: may begin to lead. */
  readonly mayLead: (nodeId: number) => boolean
}

/** Of the image, with other states for some nodes. */
export function nodeStates(
  image: MetadataImage,
  changes: ReadonlyMap<number, { fenced: boolean; shuttingDown: boolean }> = new Map(),
): NodeStates {
  const stateOf = (nodeId: number): { fenced: boolean; shuttingDown: boolean } | undefined => changes.get(nodeId) ?? image.nodes.get(nodeId)
  return {
    isAlive: (nodeId) => stateOf(nodeId)?.fenced === false,
    mayLead: (nodeId) => {
      const state = stateOf(nodeId)
      return state !== undefined && !state.fenced && !state.shuttingDown
    },
  }
}

/** In-sync replicas that a partition needs to take writes. */
export function minIsrOf(topic: TopicMetadata, replicas: readonly number[]): number {
  return minInsyncOf(topic.config, replicas.length)
}

/** The record of the change; undefined when nothing changes. */
export function changePartition(
  topic: TopicMetadata,
  partition: number,
  wanted: WantedChange,
  nodes: NodeStates,
): MetadataRecord | undefined {
  const before = topic.partitions[partition] as PartitionMetadata
  const draft = new PartitionDraft(topic, before, wanted)
  draft.releaseRetiring(nodes)
  draft.finishReassignment(nodes)
  draft.chooseEligible()
  draft.elect(wanted.election ?? 'keep', nodes)
  const value = draft.record(topic.topicId, partition, wanted.minIsrChanged ?? false)
  return value === undefined ? undefined : { record: { $case: 'partition', value } }
}

class PartitionDraft {
  readonly #before: PartitionMetadata
  readonly #topic: TopicMetadata
  readonly #distrusted: readonly number[]
  readonly #startsEpoch: boolean
  #replicas: readonly number[]
  #isr: readonly number[]
  #elr: readonly number[] = []
  #adding: readonly number[]
  #removing: readonly number[]
  #leader: number

  constructor(topic: TopicMetadata, before: PartitionMetadata, wanted: WantedChange) {
    this.#topic = topic
    this.#before = before
    this.#distrusted = wanted.distrusted ?? []
    this.#startsEpoch = wanted.startsEpoch ?? false
    this.#replicas = wanted.replicas ?? before.replicas
    this.#isr = (wanted.isr ?? before.isr).filter((id) => this.#replicas.includes(id) && !this.#distrusted.includes(id))
    this.#adding = wanted.addingReplicas ?? before.addingReplicas
    this.#removing = wanted.removingReplicas ?? before.removingReplicas
    this.#leader = before.leader
  }

  /** Who is about to stop stays in sync only while nobody else could lead. */
  releaseRetiring({ mayLead }: NodeStates): void {
    if (this.#isr.some(mayLead)) this.#isr = this.#isr.filter(mayLead)
  }

  /** Once all that come are in sync, those that go are let go: in one step, never below the minimum. */
  finishReassignment({ mayLead }: NodeStates): void {
    if (this.#adding.length === 0 && this.#removing.length === 0) return
    const targets = this.#replicas.filter((id) => !this.#removing.includes(id))
    const isr = this.#isr.filter((id) => targets.includes(id))
    // A move that was given up for another still has what it brought among the adding: it goes again.
    const hasAll = this.#adding.every((id) => isr.includes(id) || this.#removing.includes(id))
    if (!hasAll || isr.length < minIsrOf(this.#topic, targets) || !isr.some(mayLead)) return
    this.#replicas = targets
    this.#isr = isr
    this.#adding = []
    this.#removing = []
  }

  /**
   * Who leaves an ISR that becomes too small stays complete: nothing more is committed without it while the ISR is that small, whatever the minimum was
   * before. Only a minimum that the ISR reaches lets the leader go on alone, and that empties the ELR.
   */
  chooseEligible(): void {
    const { isr, elr } = this.#before
    if (this.#isr.length >= minIsrOf(this.#topic, this.#replicas)) return
    const complete = new Set([...elr, ...isr])
    this.#elr = this.#replicas.filter((id) => complete.has(id) && !this.#isr.includes(id) && !this.#distrusted.includes(id))
  }

  elect(election: Election, { isAlive, mayLead }: NodeStates): void {
    const inSync = (id: number): boolean => this.#isr.includes(id)
    const [preferred] = this.#replicas
    if (election === 'preferred' && preferred !== undefined && inSync(preferred) && mayLead(preferred)) {
      this.#leader = preferred
      return
    }
    const present = this.#before.leader
    if (inSync(present) && mayLead(present)) return
    const next = this.#replicas.find((id) => inSync(id) && mayLead(id))
    if (next !== undefined) {
      this.#leader = next
      return
    }
    // About to stop, and nobody could take over: it leads to the end.
    if (inSync(present) && isAlive(present)) return
    const eligible = this.#replicas.find((id) => this.#elr.includes(id) && mayLead(id))
    if (eligible !== undefined) this.#leadAlone(eligible)
    else if (election === 'unclean') this.#electUnclean(mayLead)
    else this.#leader = -1
  }

  record(topicId: string, partition: number, isChanged: boolean): PartitionRecord | undefined {
    const before = this.#before
    const isLeaderNew = this.#leader !== before.leader
    // Those that go must not be asked any more in the old epoch.
    const isSmaller = before.replicas.some((id) => !this.#replicas.includes(id))
    const lastLeader = before.leader >= 0 ? before.leader : before.lastKnownLeader
    const after: PartitionMetadata = {
      replicas: this.#replicas,
      isr: this.#isr,
      leader: this.#leader,
      leaderEpoch: before.leaderEpoch + (isLeaderNew || isSmaller || this.#startsEpoch ? 1 : 0),
      partitionEpoch: before.partitionEpoch + 1,
      elr: this.#elr,
      addingReplicas: this.#adding,
      removingReplicas: this.#removing,
      lastKnownLeader: this.#leader >= 0 ? -1 : lastLeader,
    }
    return !isChanged && isSame(before, after) ? undefined : partitionRecord(topicId, partition, after)
  }

  #electUnclean(mayLead: (nodeId: number) => boolean): void {
    const last = this.#before.leader >= 0 ? this.#before.leader : this.#before.lastKnownLeader
    const next = mayLead(last) && this.#replicas.includes(last) ? last : this.#replicas.find(mayLead)
    if (next === undefined) this.#leader = -1
    else {
      this.#leadAlone(next)
      // Whatever the others have beyond it is not the truth any more.
      this.#elr = []
    }
  }

  #leadAlone(nodeId: number): void {
    this.#leader = nodeId
    this.#isr = [nodeId]
    this.#elr = minIsrOf(this.#topic, this.#replicas) > 1 ? this.#elr.filter((id) => id !== nodeId) : []
  }
}

function isSame(a: PartitionMetadata, b: PartitionMetadata): boolean {
  return (
    a.leader === b.leader &&
    a.leaderEpoch === b.leaderEpoch &&
    a.lastKnownLeader === b.lastKnownLeader &&
    isSameList(a.replicas, b.replicas) &&
    isSameList(a.isr, b.isr) &&
    isSameList(a.elr, b.elr) &&
    isSameList(a.addingReplicas, b.addingReplicas) &&
    isSameList(a.removingReplicas, b.removingReplicas)
  )
}

function isSameList(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((id, at) => id === b[at])
}
