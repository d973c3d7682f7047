/**
 * Counts per section and how far each partition was counted, in one SQLite file that several processes share: both change in one transaction, so that a
 * record counts once. A transaction of an older epoch than the newest holder's is refused.
 */
import { DatabaseSync } from 'node:sqlite'

export interface Counted {
  readonly partition: number
  /** Of the holder, when it was given the partition. */
  readonly epoch: number
  readonly member: string
  /** Of the first record. */
  readonly offset: bigint
  readonly nextOffset: bigint
  /** How often each section occurs in the records. */
  readonly sections: ReadonlyMap<string, number>
}

const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS partitions (partition INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, next INTEGER) STRICT;
  CREATE TABLE IF NOT EXISTS counts (partition INTEGER, section TEXT, count INTEGER NOT NULL, PRIMARY KEY (partition, section)) STRICT;
  CREATE TABLE IF NOT EXISTS holders (partition INTEGER, epoch INTEGER, member TEXT, PRIMARY KEY (partition, epoch, member)) STRICT;
`

export class CountStore {
  readonly #database: DatabaseSync

  constructor(path: string) {
    this.#database = new DatabaseSync(path, { timeout: 30_000 })
    this.#database.exec(SCHEMA)
  }

  /** From now on nothing of a smaller epoch is taken. Undefined: nothing of the partition was counted. */
  load(partition: number, epoch: number): bigint | undefined {
    return this.#transaction(() => {
      this.#database
        .prepare('INSERT INTO partitions VALUES (?, ?, NULL) ON CONFLICT (partition) DO UPDATE SET epoch = max(epoch, excluded.epoch)')
        .run(partition, epoch)
      return this.#rowOf(partition)?.next
    })
  }

  /** False: somebody was given the partition since, and nothing is changed. Throws when the records are not those that come next. */
  add({ partition, epoch, member, offset, nextOffset, sections }: Counted): boolean {
    return this.#transaction(() => {
      const row = this.#rowOf(partition)
      if (row === undefined || row.epoch > epoch) return false
      if ((row.next ?? 0n) !== offset) throw new Error(`partition ${partition} is counted up to ${row.next ?? 0n}, and ${offset} comes`)
      this.#database.prepare('UPDATE partitions SET next = ? WHERE partition = ?').run(nextOffset, partition)
      this.#database.prepare('INSERT OR IGNORE INTO holders VALUES (?, ?, ?)').run(partition, epoch, member)
      const count = this.#database.prepare(
        'INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT (partition, section) DO UPDATE SET count = count + excluded.count',
      )
      for (const [section, more] of sections) count.run(partition, section, more)
      return true
    })
  }

  /** Records counted in all. */
  total(): number {
    const row = this.#database.prepare('SELECT coalesce(sum(count), 0) AS total FROM counts').get()
    return Number(row?.['total'])
  }

  counts(): Map<string, number> {
    const rows = this.#database.prepare('SELECT section, sum(count) AS count FROM counts GROUP BY section').all()
    return new Map(rows.map((row) => [String(row['section']), Number(row['count'])]))
  }

  /** Partitions and epochs in which more than one member counted. */
  sharedHolds(): string[] {
    const rows = this.#database
      .prepare('SELECT partition, epoch, count(*) AS members FROM holders GROUP BY partition, epoch HAVING members > 1')
      .all()
    return rows.map((row) => `partition ${Number(row['partition'])} in epoch ${Number(row['epoch'])}: ${Number(row['members'])} members`)
  }

  /** How many times partitions were held, by whomever. */
  holdCount(): number {
    return Number(this.#database.prepare('SELECT count(*) AS holds FROM holders').get()?.['holds'])
  }

  close(): void {
    this.#database.close()
  }

  #rowOf(partition: number): { readonly epoch: number; readonly next: bigint | undefined } | undefined {
    const row = this.#database.prepare('SELECT epoch, next FROM partitions WHERE partition = ?').get(partition)
    if (row === undefined) return undefined
    return { epoch: Number(row['epoch']), next: row['next'] === null ? undefined : BigInt(row['next'] as number) }
  }

  #transaction<T>(work: () => T): T {
    this.#database.exec('BEGIN IMMEDIATE')
    try {
      const result = work()
      this.#database.exec('COMMIT')
      return result
    } catch (error) {
      this.#database.exec('ROLLBACK')
      throw error
    }
  }
}
