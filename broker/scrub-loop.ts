/**
 * Reads everything on disk once within a period, a little at a time, so that damage is found while another replica still has what is lost.
 * One timer for all partitions. It begins anywhere: a node that is restarted often would never come to the end.
 */
import type { PartitionLog } from '../log/partition-log.ts'
import { SCRUB_BEGIN, type ScrubPlace } from '../log/scrub.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { Counters } from './counters.ts'
import type { Partition } from './partition.ts'

/** Of one partition, between two pauses. */
const STEP_BYTES = 256 * 1024

/** Little data is read more often than it would have to be. */
const PAUSE_MAX_MS = 60_000

export interface ScrubSettings {
  /** In which everything is read once, as far as the limit lets it. 0: nothing is read. */
  readonly periodMs: number
  readonly bytesPerSecondMax: number
}

/** What is being looked at. */
interface Present {
  readonly partition: Partition
  readonly log: PartitionLog
  place: ScrubPlace
}

export class ScrubLoop {
  readonly #partitions: () => readonly Partition[]
  readonly #runtime: Pick<Runtime, 'timers' | 'random' | 'log'>
  readonly #settings: ScrubSettings
  readonly #counters: Counters
  /** Of this pass, in their order; those before `next` have been looked at. */
  #all: readonly Partition[] = []
  #next = 0
  #present: Present | undefined
  /** Of the whole data set, when the pass began. */
  #totalBytes = 0
  #timer: Timer | undefined
  #step: Promise<void> | undefined
  #isClosed = false

  constructor(
    partitions: () => readonly Partition[],
    runtime: Pick<Runtime, 'timers' | 'random' | 'log'>,
    settings: ScrubSettings,
    counters: Counters,
  ) {
    this.#partitions = partitions
    this.#runtime = runtime
    this.#settings = settings
    this.#counters = counters
    if (settings.periodMs > 0) this.#begin(runtime.random.float())
  }

  /** Resolves when nothing is being read any more. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#timer?.cancel()
    await this.#step
  }

  /** A pass over all partitions, the first of them `from` of the way through. */
  #begin(from: number): void {
    const all = this.#partitions()
    const first = Math.floor(from * all.length)
    this.#all = [...all.slice(first), ...all.slice(0, first)]
    this.#next = 0
    this.#totalBytes = all.reduce((sum, { log }) => sum + log.describe().sizeBytes, 0)
    this.#after(Math.min(PAUSE_MAX_MS, this.#settings.periodMs))
  }

  #after(pauseMs: number): void {
    if (this.#isClosed) return
    this.#timer = this.#runtime.timers.after(pauseMs, () => {
      const present = this.#take()
      if (present !== undefined) this.#step = this.#read(present).then((bytes) => this.#after(this.#pauseMs(bytes)))
      else {
        this.#counters.scrubPassCount++
        this.#begin(0)
      }
    })
  }

  /** Spreads the data set over the period; no faster than the limit. */
  #pauseMs(bytes: number): number {
    const { periodMs, bytesPerSecondMax } = this.#settings
    const part = bytes / Math.max(1, this.#totalBytes)
    return Math.max((bytes / bytesPerSecondMax) * 1000, Math.min(PAUSE_MAX_MS, periodMs * part))
  }

  /** Returns how much was read. */
  async #read(present: Present): Promise<number> {
    const { partition, log, place } = present
    try {
      const { bytes, next } = await log.scrub(place, STEP_BYTES)
      this.#counters.scrubbedBytes += bytes
      if (next === undefined) this.#present = undefined
      else present.place = next
      return bytes
    } catch (error) {
      // A file that cannot be read may be one that has just been removed. A disk that fails is found by who writes to it.
      this.#runtime.log.debug('scrub.skipped', { topic: partition.topic, partition: partition.partition, error: TidemarkError.from(error) })
      this.#present = undefined
      return 0
    }
  }

  /** What to go on with; undefined when the pass has ended. */
  #take(): Present | undefined {
    const { partition, log } = this.#present ?? {}
    if (partition !== undefined && partition.log === log && isReadable(partition)) return this.#present
    this.#present = undefined
    while (this.#present === undefined && this.#next < this.#all.length) {
      const found = this.#all[this.#next++] as Partition
      if (isReadable(found) && found.log.logEndOffset > found.log.logStartOffset)
        this.#present = { partition: found, log: found.log, place: SCRUB_BEGIN }
    }
    return this.#present
  }
}

/** Its log is not being cut, set aside or deleted. */
function isReadable({ isRetired, isChanging }: Partition): boolean {
  return !isRetired && !isChanging
}
