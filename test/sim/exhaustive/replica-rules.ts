/**
 * What must hold among replicas whatever happens, and what has to be remembered of the past to see it: the records that were
 * committed, which is to say, below a high watermark of whoever led.
 *
 * - Who leads, who is in sync and who is eligible has all that was committed, on its disk where the topic asks for that.
 * - Committed once, a record stays what it is; no high watermark covers another, or goes back.
 * - Logs that have a record of one epoch at one offset are the same up to there.
 * - Nobody fenced is in sync; the leader is; enough in sync, and nobody is eligible.
 * - Whoever leads waits for everybody that the controller counts as in sync.
 */
import type { PartitionMetadata } from '../../../controller/metadata/image.ts'
import { Interned } from './interned.ts'
import type { StoredRecord } from './replica-log.ts'
import type { View } from './replica-node.ts'

type Committed = readonly StoredRecord[]

/** Of a whole history. */
export class Commits {
  readonly #commits = new Interned<Committed>()
  readonly none = this.#add([])

  get(number: number): Committed {
    return this.#commits.get(number)
  }

  /** What is committed after a step of the node that looks like `view` now. */
  after(number: number, { nodeId, isLeader, highWatermark, records }: View): { readonly next: number; readonly wrong: string | undefined } {
    const committed = this.get(number)
    if (!isLeader) return { next: number, wrong: undefined }
    const differs = committed.findIndex((record, offset) => offset < highWatermark && !isSame(records[offset], record))
    if (differs >= 0) return { next: number, wrong: `offset ${differs} was committed, and node ${nodeId} commits another record there` }
    return { next: highWatermark > committed.length ? this.#add(records.slice(0, highWatermark)) : number, wrong: undefined }
  }

  #add(committed: Committed): number {
    return this.#commits.add(JSON.stringify(committed), () => committed)
  }
}

export interface Situation {
  readonly views: readonly View[]
  readonly partition: PartitionMetadata
  readonly fenced: readonly number[]
  readonly committed: Committed
  readonly minIsr: number
  readonly durability: 'fsync' | 'replicated'
}

/** The rule that it breaks. */
export function violationOf(situation: Situation): string | undefined {
  return brokenByController(situation) ?? brokenByMembers(situation) ?? brokenByNodes(situation) ?? brokenByLogs(situation.views)
}

function brokenByController({ partition, fenced, minIsr }: Situation): string | undefined {
  const { leader, isr, elr } = partition
  if (leader >= 0 && !isr.includes(leader)) return 'the leader is in sync'
  if (isr.some((id) => fenced.includes(id))) return 'nobody fenced is in sync'
  if (isr.length >= minIsr && elr.length > 0) return 'enough are in sync, nobody is eligible'
  if (elr.some((id) => isr.includes(id))) return 'nobody is in sync and eligible'
  return undefined
}

function brokenByMembers({ views, partition, committed, durability }: Situation): string | undefined {
  for (const id of [...partition.isr, ...partition.elr]) {
    const { isUp, records, flushedOffset } = views[id - 1] as View
    // Of one that is down nobody knows what it has lost, before it comes back and says so.
    if (durability !== 'fsync' && !isUp) continue
    const offset = durability === 'fsync' ? flushedOffset : records.length
    const lacks = committed.findIndex((record, at) => at >= offset || !isSame(records[at], record))
    if (lacks >= 0) return `node ${id} may lead, and lacks offset ${lacks}, which was committed`
  }
  return undefined
}

function brokenByNodes({ views, partition, committed }: Situation): string | undefined {
  for (const { nodeId, isUp, isLeader, leaderEpoch, highWatermark, records, maximalIsr } of views) {
    if (!isUp) continue
    if (highWatermark > records.length) return `the high watermark of node ${nodeId} is beyond its log`
    if (highWatermark > committed.length) return `the high watermark of node ${nodeId} is beyond what was committed`
    const differs = committed.findIndex((record, offset) => offset < highWatermark && !isSame(records[offset], record))
    if (differs >= 0) return `node ${nodeId} shows another record than the one that was committed at offset ${differs}`
    if (!isLeader || leaderEpoch !== partition.leaderEpoch) continue
    const forgotten = partition.isr.find((id) => !maximalIsr.includes(id))
    if (forgotten !== undefined) return `node ${nodeId} leads and does not wait for node ${forgotten}, which is in sync`
  }
  return undefined
}

function brokenByLogs(views: readonly View[]): string | undefined {
  for (const [at, { records: ours }] of views.entries()) {
    for (const { records: theirs } of views.slice(at + 1)) {
      const last = ours.findLastIndex((record, offset) => record.epoch === theirs[offset]?.epoch)
      if (ours.slice(0, last + 1).some((record, offset) => !isSame(record, theirs[offset])))
        return 'logs that meet in one epoch are the same up to there'
    }
  }
  return undefined
}

function isSame(a: StoredRecord | undefined, b: StoredRecord | undefined): boolean {
  return a !== undefined && a.epoch === b?.epoch && a.text === b.text
}
