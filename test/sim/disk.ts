/**
 * The disk of a node over its lives: its files, and what its controller must not forget.
 *
 * Fault model. Every operation takes its time; a disk may become slow, or hang. When a process is killed all it wrote is there; when the
 * power goes, what was not synced is there or not, sector by sector, as chance decides. The quorum's store writes whole batches (LevelDB's log does): the
 * one that was under way is there or not. A disk may be wiped, or replaced by an earlier image of itself.
 */
import { MemoryRaftStore } from '../../controller/memory-raft-store.ts'
import type { Snapshot } from '../../controller/raft/messages.ts'
import type { RaftChange, RaftState, RaftStore } from '../../controller/raft-store.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import type { SimProcess } from './process.ts'
import type { Chance } from '../../scripts/random.ts'

/** What takes a disk time, at most so many milliseconds. Everything else is done at once. */
const SLOW: ReadonlyMap<string, number> = new Map([
  ['write', 0.5],
  ['datasync', 4],
  ['truncate', 2],
  ['save', 5],
])

/** A disk as it was once. */
export interface DiskImage {
  readonly files: MemoryFiles
  readonly quorum: RaftState
}

export class SimDisk {
  readonly #chance: Chance
  files: MemoryFiles
  #store = new MemoryRaftStore()
  /** Whoever uses it. */
  #process: SimProcess | undefined
  /** Writes of the quorum's store that are under way. */
  readonly #saving = new Set<() => Promise<void>>()
  /** Everything takes so many times longer. */
  slowness = 1
  /** Calls `told` with each operation that takes time, for the trace. */
  onOperation: (operation: string) => void = () => {}

  constructor(chance: Chance) {
    this.#chance = chance
    this.files = new MemoryFiles({ pause: (operation) => this.#take(operation) })
  }

  /** A process takes it over. */
  use(process: SimProcess): RaftStore {
    this.#process = process
    return this.#storeOf(process)
  }

  /** The process was killed. */
  killed(): void {
    this.#process = undefined
    this.files = this.files.kill()
    // The kernel has them.
    this.#settleSaves(() => true)
  }

  /** `isAllLost`: nothing that was not synced is there; default: as chance decides. */
  powerLost(isAllLost: boolean = this.#chance() < 0.3): void {
    this.#process = undefined
    this.files = this.files.crash(() => !isAllLost && this.#chance() < 0.5)
    this.#settleSaves(() => this.#chance() < 0.5)
  }

  /** Nothing is on it any more. */
  wiped(): void {
    this.files.kill()
    this.files = new MemoryFiles({ pause: (operation) => this.#take(operation) })
    this.#store = new MemoryRaftStore()
    this.#saving.clear()
  }

  /** What a backup made now would have. */
  async image(): Promise<DiskImage> {
    return { files: this.files.copy(), quorum: await this.#store.load() }
  }

  /** Replaced by one on which an image was put. Nobody uses it. */
  restored({ files, quorum }: DiskImage): void {
    this.files.kill()
    this.files = files.copy()
    this.#store = new MemoryRaftStore(quorum)
    this.#saving.clear()
  }

  /** One bit of a file is another one from now on, and no program wrote it. */
  async flip(path: string, position: number): Promise<void> {
    const handle = await this.files.open(path, 'readWrite')
    const byte = Buffer.alloc(1)
    await handle.read(byte, 0, 1, position)
    await handle.write([Buffer.from([(byte[0] as number) ^ 0x10])], position)
    await handle.datasync()
    await handle.close()
  }

  #take(operation: string): Promise<void> {
    const slowMs = SLOW.get(operation)
    const process = this.#process
    if (slowMs === undefined || process === undefined) return Promise.resolve()
    return new Promise((resolve) => {
      process.time.after(this.slowness * slowMs * this.#chance(), () => {
        this.onOperation(operation)
        process.run(resolve)
      })
    })
  }

  #settleSaves(isKept: () => boolean): void {
    for (const save of this.#saving) if (isKept()) void save()
    this.#saving.clear()
  }

  #storeOf(process: SimProcess): RaftStore {
    const store = this.#store
    const write = async (change: () => Promise<void>): Promise<void> => {
      this.#saving.add(change)
      await this.#take('save')
      // Of another life, or settled by the end of this one.
      if (!process.isAlive || !this.#saving.delete(change)) return new Promise<never>(() => {})
      await change()
    }
    return {
      load: (): Promise<RaftState> => store.load(),
      save: (change: RaftChange) => write(() => store.save(change)),
      saveSnapshot: (snapshot: Snapshot, options) => write(() => store.saveSnapshot(snapshot, options)),
      close: async () => {},
    }
  }
}
