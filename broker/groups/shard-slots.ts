/**
 * The shards of one node: one for each partition of `__consumer_offsets` that it leads, in the epoch in which it leads it.
 *
 * What a shard knows is true only while the node leads without interruption. Another epoch is another shard, which reads the log anew; the shard of the former
 * one is closed first, whether it had read all or not.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import type { Runtime } from '../../runtime/runtime.ts'
import type { GroupLog } from './group-log.ts'
import { GroupShard } from './group-shard.ts'

/** A log that could not be read is read again after this. */
const RELOAD_AFTER_MS = 1000

/** What of a partition says whether this node may work on its groups. */
export interface LedPartition {
  readonly partition: number
  readonly isLeader: boolean
  readonly isRetired: boolean
  readonly leaderEpoch: number
}

interface Slot<Partition> {
  readonly partition: Partition
  readonly leaderEpoch: number
  readonly shard: GroupShard
  /** Resolves when the shard is active, or will never be. */
  loaded: Promise<void>
  /** When to try again; undefined: nothing is wrong. Monotonic. */
  reloadAtMs: number | undefined
}

export interface SlotsParts<Partition> {
  readonly runtime: Pick<Runtime, 'clock' | 'timers' | 'log'>
  /** Partitions of the topic on this node. */
  readonly partitions: () => readonly Partition[]
  readonly openLog: (partition: Partition) => GroupLog
  /** How long an earlier coordinator may go on without knowing that it is none any more. */
  readonly graceMs: () => number
  /** A shard has been opened, and is loading. */
  readonly opened: () => void
  /** A shard has become active. */
  readonly activated: (shard: GroupShard) => Promise<void>
}

export class ShardSlots<Partition extends LedPartition> {
  readonly #parts: SlotsParts<Partition>
  readonly #slots = new Map<number, Slot<Partition>>()
  #isClosed = false

  constructor(parts: SlotsParts<Partition>) {
    this.#parts = parts
  }

  get isEmpty(): boolean {
    return this.#slots.size === 0
  }

  /** Those that can be worked on. */
  active(): GroupShard[] {
    return [...this.#slots.values()].flatMap(({ shard }) => (shard.isActive ? [shard] : []))
  }

  /** Numbers of those that are led here and cannot be worked on yet. */
  loading(): number[] {
    return [...this.#slots.values()].flatMap(({ shard }) => (shard.isActive ? [] : [shard.partition]))
  }

  /** Undefined when this node does not lead the partition. */
  find(number: number): GroupShard | undefined {
    const slot = this.#slots.get(number)
    if (slot === undefined || !isCurrent(slot)) this.review()
    return this.#slots.get(number)?.shard
  }

  /** Closes the shards of what is not led any more, opens those of what is. */
  review(): void {
    if (this.#isClosed) return
    const led = new Map(
      this.#parts.partitions().flatMap((partition) => (isLed(partition) ? [[partition.partition, partition] as const] : [])),
    )
    const nowMs = this.#parts.runtime.clock.monotonic()
    for (const [number, slot] of this.#slots) {
      if (led.get(number) !== slot.partition || !isCurrent(slot)) this.#close(slot, leadershipGone(number))
      else if (slot.reloadAtMs !== undefined && nowMs >= slot.reloadAtMs) this.#close(slot, leadershipGone(number))
    }
    for (const [number, partition] of led) if (!this.#slots.has(number)) this.#open(number, partition)
  }

  /** Resolves when no shard is being read any more. */
  async settled(): Promise<void> {
    await Promise.all([...this.#slots.values()].map(({ loaded }) => loaded))
  }

  close(reason: TidemarkError): void {
    this.#isClosed = true
    for (const slot of this.#slots.values()) this.#close(slot, reason)
  }

  #open(number: number, partition: Partition): void {
    const { runtime, openLog, graceMs } = this.#parts
    const shard = new GroupShard({
      partition: number,
      log: openLog(partition),
      clock: runtime.clock,
      graceMs,
      broken: (error) => this.#broken(slot, error, 0),
    })
    const slot: Slot<Partition> = { partition, leaderEpoch: partition.leaderEpoch, shard, loaded: Promise.resolve(), reloadAtMs: undefined }
    this.#slots.set(number, slot)
    slot.loaded = this.#load(slot)
    this.#parts.opened()
  }

  async #load(slot: Slot<Partition>): Promise<void> {
    const { runtime, activated } = this.#parts
    const { shard, leaderEpoch } = slot
    const startedMs = runtime.clock.monotonic()
    try {
      await shard.load()
      if (!shard.isActive) return
      const tookMs = Math.round(runtime.clock.monotonic() - startedMs)
      runtime.log.info('groups.loaded', { partition: shard.partition, leaderEpoch, groupCount: shard.groups.size, tookMs })
      await activated(shard)
    } catch (error) {
      this.#broken(slot, TidemarkError.from(error), RELOAD_AFTER_MS)
    }
  }

  #broken(slot: Slot<Partition>, error: TidemarkError, reloadAfterMs: number): void {
    const { runtime } = this.#parts
    if (this.#slots.get(slot.shard.partition) !== slot || slot.reloadAtMs !== undefined) return
    // To be deposed is no failure.
    const say = isCurrent(slot) ? 'warn' : 'debug'
    runtime.log[say]('groups.broken', { partition: slot.shard.partition, code: error.code, error: error.message })
    slot.reloadAtMs = runtime.clock.monotonic() + reloadAfterMs
    slot.shard.close(
      new TidemarkError(
        'COORDINATOR_LOAD_IN_PROGRESS',
        `the groups of partition ${slot.shard.partition} have to be read again: ${error.message}`,
        {
          retryAfterMs: 100,
        },
      ),
    )
  }

  #close(slot: Slot<Partition>, reason: TidemarkError): void {
    this.#slots.delete(slot.shard.partition)
    slot.shard.close(reason)
  }
}

function isLed(partition: LedPartition): boolean {
  return partition.isLeader && !partition.isRetired
}

function isCurrent({ partition, leaderEpoch }: Slot<LedPartition>): boolean {
  return isLed(partition) && partition.leaderEpoch === leaderEpoch
}

function leadershipGone(number: number): TidemarkError {
  return new TidemarkError('NOT_COORDINATOR', `another node leads partition ${number} of the groups by now`)
}
