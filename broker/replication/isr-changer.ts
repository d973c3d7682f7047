/**
 * Asks the controller for other in-sync replicas: all partitions that want something in one request, one request at a time.
 *
 * A refusal is told to the partition. When nobody knows what became of a request, it is asked again until somebody does: the
 * partition keeps counting on the larger ISR meanwhile.
 */
import type { ActiveController } from '../../controller/active-controller.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { AlterPartitionResult } from '../../protocol/gen/tidemark/v1/controller.ts'
import type { Runtime, Timer } from '../../runtime/runtime.ts'
import type { Partition } from '../partition.ts'
import type { IsrProposal } from './leader-state.ts'

const RETRY_MS = 50
/** Partitions in one request. */
const PARTITIONS_MAX = 2000

export interface IsrChangerParts {
  readonly controller: Pick<ActiveController, 'ask'>
  readonly runtime: Pick<Runtime, 'timers' | 'random' | 'log'>
  readonly node: () => { readonly clusterId: string; readonly nodeId: number; readonly nodeEpoch: number }
}

export class IsrChanger {
  readonly #parts: IsrChangerParts
  readonly #wanted = new Map<Partition, IsrProposal>()
  #isAsking = false
  #later: Timer | undefined
  #isClosed = false

  constructor(parts: IsrChangerParts) {
    this.#parts = parts
  }

  want(partition: Partition, proposal: IsrProposal): void {
    this.#wanted.set(partition, proposal)
    this.#soon(0)
  }

  close(): void {
    this.#isClosed = true
    this.#later?.cancel()
  }

  #soon(delayMs: number): void {
    if (this.#isClosed || this.#isAsking || this.#later !== undefined) return
    this.#later = this.#parts.runtime.timers.after(delayMs, () => {
      this.#later = undefined
      void this.#ask()
    })
  }

  async #ask(): Promise<void> {
    const asked = [...this.#wanted].slice(0, PARTITIONS_MAX)
    if (asked.length === 0 || this.#isClosed) return
    this.#isAsking = true
    let delayMs = 0
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
    } catch (error) {
      this.#parts.runtime.log.debug('isr.unanswered', { error: TidemarkError.from(error) })
      // Fenced, or not reached: what was asked may have been done. The metadata will tell, or the next answer.
      delayMs = RETRY_MS * (1 + this.#parts.runtime.random.float())
      for (const [partition, proposal] of asked) if (!isPresent(partition, proposal)) this.#drop(partition, proposal)
    }
    this.#isAsking = false
    if (this.#wanted.size > 0) this.#soon(delayMs)
  }

  #settle(partition: Partition, proposal: IsrProposal, result: AlterPartitionResult | undefined): void {
    if (result?.error?.code === 'NOT_CONTROLLER') return
    this.#drop(partition, proposal)
    if (result?.state !== undefined) partition.isrDecided(result.state)
    else {
      this.#parts.runtime.log.debug('isr.refused', { topic: partition.topic, partition: partition.partition, code: result?.error?.code })
      partition.isrRefused(proposal)
    }
  }

  #drop(partition: Partition, proposal: IsrProposal): void {
    if (this.#wanted.get(partition) === proposal) this.#wanted.delete(partition)
  }
}

/** The partition still leads in the epoch in which it was asked for. */
function isPresent(partition: Partition, { leaderEpoch, partitionEpoch }: IsrProposal): boolean {
  return partition.isLeader && partition.leaderEpoch === leaderEpoch && partition.metadata.partitionEpoch <= partitionEpoch
}
