/**
 * Asks the controller for other in-sync replicas: all partitions that want something in one request, one request at a time.
 *
 * A refusal is told to the partition. When nobody knows what became of a request, it is asked again until somebody does: the
 * partition keeps counting on the larger ISR meanwhile. So it does when the controller has a newer state than the one asked about:
 * that may be what an earlier request, whose answer was lost, has made of it. The metadata brings it.
 */
import type { ActiveController } from '../../controller/active-controller.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { AlterPartitionResult } from '../../protocol/gen/tidemark/v1/controller.ts'
import type { Runtime } from '../../runtime/runtime.ts'
import type { Partition } from '../partition.ts'
import type { IsrProposal } from './leader-state.ts'
import { OneAtATime } from './one-at-a-time.ts'

const RETRY_MS = 50
/** Partitions in one request. */
const PARTITIONS_MAX = 2000

/** Who knows an older state than the controller must not conclude what it is. */
const SUPERSEDED = new Set(['INVALID_UPDATE_VERSION', 'FENCED_LEADER_EPOCH'])

/** A partition that this node leads. */
export type IsrPartition = Pick<
  Partition,
  'topic' | 'topicId' | 'partition' | 'isLeader' | 'leaderEpoch' | 'metadata' | 'isRetired' | 'isrDecided' | 'isrRefused'
>

export interface IsrChangerParts {
  readonly controller: Pick<ActiveController, 'ask'>
  readonly runtime: Pick<Runtime, 'timers' | 'random' | 'log'>
  readonly node: () => { readonly clusterId: string; readonly nodeId: number; readonly nodeEpoch: number }
}

export class IsrChanger {
  readonly #parts: IsrChangerParts
  readonly #wanted = new Map<IsrPartition, IsrProposal>()
  readonly #turns: OneAtATime

  constructor(parts: IsrChangerParts) {
    this.#parts = parts
    this.#turns = new OneAtATime(parts.runtime.timers, () => this.#ask())
  }

  want(partition: IsrPartition, proposal: IsrProposal): void {
    this.#wanted.set(partition, proposal)
    this.#turns.soon()
  }

  close(): void {
    this.#turns.close()
  }

  async #ask(): Promise<number | undefined> {
    const asked = [...this.#wanted].slice(0, PARTITIONS_MAX)
    if (asked.length === 0) return undefined
    let delayMs = RETRY_MS * (1 + this.#parts.runtime.random.float())
    try {
      const partitions = asked.map(([{ topicId, partition }, { leaderEpoch, partitionEpoch, isr }]) => ({
        topicId,
        partition,
        leaderEpoch,
        partitionEpoch,
        isr: isr.map((member) => ({ ...member })),
      }))
      const { partitions: results } = await this.#parts.controller.ask('alterPartitions', { ...this.#parts.node(), partitions })
      for (const [at, [partition, proposal]] of asked.entries()) this.#settle(partition, proposal, results[at])
      // What came meanwhile goes at once; what this controller could not decide is asked again a little later.
      if (asked.every(([partition, proposal]) => this.#wanted.get(partition) !== proposal)) delayMs = 0
    } catch (error) {
      this.#parts.runtime.log.debug('isr.unanswered', { error: TidemarkError.from(error) })
      // Fenced, or not reached: what was asked may have been done. The metadata will tell, or the next answer.
      for (const [partition, proposal] of asked) if (!isPresent(partition, proposal)) this.#drop(partition, proposal)
    }
    return this.#wanted.size > 0 ? delayMs : undefined
  }

  #settle(partition: IsrPartition, proposal: IsrProposal, result: AlterPartitionResult | undefined): void {
    if (!isAnswer(result)) return
    this.#drop(partition, proposal)
    const { topic, partition: number } = partition
    if (result.error !== undefined) this.#parts.runtime.log.debug('isr.refused', { topic, partition: number, code: result.error.code })
    settle(partition, proposal, result)
  }

  #drop(partition: IsrPartition, proposal: IsrProposal): void {
    if (this.#wanted.get(partition) === proposal) this.#wanted.delete(partition)
  }
}

/** Whoever said so knows; else somebody else has to be asked. */
export function isAnswer(result: AlterPartitionResult | undefined): result is AlterPartitionResult {
  return result !== undefined && result.error?.code !== 'NOT_CONTROLLER'
}

/** The partition learns what has become of its proposal, as far as the answer says. */
export function settle(
  partition: Pick<IsrPartition, 'isrDecided' | 'isrRefused'>,
  proposal: IsrProposal,
  { state, error }: AlterPartitionResult,
): void {
  if (state !== undefined) partition.isrDecided(state)
  else if (!SUPERSEDED.has(error?.code ?? '')) partition.isrRefused(proposal)
}

/** The partition still leads in the epoch in which it was asked for. */
export function isPresent(
  partition: Pick<IsrPartition, 'isRetired' | 'isLeader' | 'leaderEpoch' | 'metadata'>,
  { leaderEpoch, partitionEpoch }: IsrProposal,
): boolean {
  return (
    !partition.isRetired &&
    partition.isLeader &&
    partition.leaderEpoch === leaderEpoch &&
    partition.metadata.partitionEpoch <= partitionEpoch
  )
}
