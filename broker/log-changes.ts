/** Logs of partitions that follow, being cut or begun anew. Whoever removes a partition waits until that is over. */
import type { DataDir } from '../log/data-dir.ts'
import type { PartitionLog } from '../log/partition-log.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { Runtime } from '../runtime/runtime.ts'
import type { Partition } from './partition.ts'
import { saySetAside } from './replication/damaged-replica.ts'

interface Changed {
  readonly log: PartitionLog
  /** Why the log is as it was. */
  readonly failure: TidemarkError | undefined
}

export class LogChanges {
  readonly #dataDir: DataDir
  readonly #runtime: Pick<Runtime, 'log'>
  readonly #nodeId: number
  readonly #fail: (partition: Partition, error: TidemarkError) => void
  readonly #underWay = new Map<Partition, Promise<void>>()

  /** `fail`: the log cannot be opened again. */
  constructor(
    parts: { readonly dataDir: DataDir; readonly runtime: Pick<Runtime, 'log'>; readonly nodeId: number },
    fail: (partition: Partition, error: TidemarkError) => void,
  ) {
    this.#dataDir = parts.dataDir
    this.#runtime = parts.runtime
    this.#nodeId = parts.nodeId
    this.#fail = fail
  }

  /** Cuts the log of a partition that follows. Rejects when it could not be cut; then it is as it was. */
  truncate(partition: Partition, offset: number): Promise<void> {
    return this.#change(partition, () => this.#truncated(partition, offset))
  }

  /** Sets the log of a partition aside and begins anew at `offset`. */
  reset(partition: Partition, offset: number): Promise<void> {
    return this.#change(partition, () => this.#begunAnew(partition, offset))
  }

  /** Resolves when nothing is under way for the partition. */
  async over(partition: Partition): Promise<void> {
    await this.#underWay.get(partition)
  }

  pending(): Iterable<Promise<void>> {
    return this.#underWay.values()
  }

  async #truncated(partition: Partition, offset: number): Promise<Changed> {
    try {
      return await this.#dataDir.truncateLog(partition.log, offset)
    } catch (error) {
      // What is left cannot be opened. Nobody counts on it: then nothing would change any more that has it opened again.
      saySetAside(error, partition, this.#nodeId, this.#runtime.log)
      return this.#begunAnew(partition, 0)
    }
  }

  async #begunAnew({ topic, topicId, partition, config }: Partition, offset: number): Promise<Changed> {
    return { log: await this.#dataDir.resetLog({ topic, topicId, partition, config }, offset), failure: undefined }
  }

  async #change(partition: Partition, change: () => Promise<Changed>): Promise<void> {
    partition.beginChange()
    const changed = change()
    const over = changed.then(
      ({ log }) => partition.replaceLog(log),
      (error: unknown) => this.#fail(partition, TidemarkError.from(error)),
    )
    this.#underWay.set(partition, over)
    await over
    this.#underWay.delete(partition)
    const { failure } = await changed
    if (failure !== undefined) throw failure
  }
}
