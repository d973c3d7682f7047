/** The duties of the active controller, round by round. What it does is decided from the image (`metadata/duties.ts`); this is what it remembers. */
import { TidemarkError } from '../protocol/errors.ts'
import type { MetadataRecord } from '../protocol/gen/tidemark/v1/metadata.ts'
import type { Log } from '../runtime/runtime.ts'
import { drainReplicas, fillNodes, preferLeaders } from './metadata/duties.ts'
import type { MetadataDelta, MetadataImage } from './metadata/image.ts'
import { fenceNodes } from './metadata/node-states.ts'
import { raiseInternal } from './metadata/raise-internal.ts'
import type { NodeSessions } from './node-sessions.ts'

export type DutyStep = (image: MetadataImage) => MetadataRecord[]

export class DutyRounds {
  readonly #sessions: NodeSessions
  readonly #log: Log
  /** Not written down: a controller that becomes active begins with those that have nothing yet, or are in the middle of it. */
  readonly #filling = new Set<number>()
  /** Nodes that are part of the cluster and not drained. */
  #members: ReadonlySet<number> = new Set()
  /** There was nothing to move in this one: a round without a change costs nothing. */
  #settled: MetadataImage | undefined
  #isRunning = false

  constructor(sessions: NodeSessions, log: Log) {
    this.#sessions = sessions
    this.#log = log
  }

  /** This node became the active controller. */
  restart(image: MetadataImage): void {
    this.#filling.clear()
    this.#settled = undefined
    const partitions = [...image.topics.values()].flatMap((topic) => topic.partitions)
    const held = new Set(partitions.flatMap(({ replicas, addingReplicas }) => replicas.filter((id) => !addingReplicas.includes(id))))
    const coming = new Set(partitions.flatMap(({ addingReplicas }) => addingReplicas))
    for (const nodeId of image.nodes.keys()) if (!held.has(nodeId) || coming.has(nodeId)) this.#filling.add(nodeId)
    this.#members = membersOf(image)
  }

  /** Nodes that are new, or may get replicas again, get their share. */
  follow(image: MetadataImage, { changedNodes, removedNodes }: Pick<MetadataDelta, 'changedNodes' | 'removedNodes'>): void {
    if (changedNodes.length === 0 && removedNodes.length === 0) return
    const members = membersOf(image)
    for (const nodeId of members) if (!this.#members.has(nodeId)) this.#filling.add(nodeId)
    this.#members = members
  }

  /** One round; none while the one before is not over. `decide` has a step recorded. Never rejects. */
  async run(decide: (step: DutyStep) => Promise<void>): Promise<void> {
    if (this.#isRunning) return
    this.#isRunning = true
    try {
      await this.#round(decide)
    } catch (error) {
      // Deposed: the next one has the duties. Whatever else it was, another round follows.
      const { code } = TidemarkError.from(error)
      if (code !== 'NOT_CONTROLLER' && code !== 'SHUTTING_DOWN') this.#log.warn('duties.failed', { error })
    } finally {
      this.#isRunning = false
    }
  }

  async #round(decide: (step: DutyStep) => Promise<void>): Promise<void> {
    let expired: readonly number[] = []
    await decide((image) => {
      expired = this.#sessions.expired(image)
      return fenceNodes(image, expired)
    })
    if (expired.length > 0) this.#log.warn('nodes.fenced', { nodeIds: expired })
    let isSettled = true
    let seen: MetadataImage | undefined
    for (const duty of [preferLeaders, drainReplicas, (image: MetadataImage) => this.#fill(image)]) {
      await decide((image) => {
        seen ??= image
        if (image === this.#settled) return []
        const records = duty(image)
        isSettled &&= records.length === 0 && image === seen && this.#filling.size === 0
        return records
      })
    }
    if (isSettled) this.#settled = seen
  }

  #fill(image: MetadataImage): MetadataRecord[] {
    if (this.#filling.size === 0) return []
    // Only while nodes come: whoever takes copies away by hand later keeps it so.
    const raised = raiseInternal(image)
    if (raised.length > 0) return raised
    const { records, filled } = fillNodes(image, this.#filling)
    for (const nodeId of filled) this.#filling.delete(nodeId)
    return records
  }
}

function membersOf(image: MetadataImage): Set<number> {
  return new Set([...image.nodes.values()].filter(({ draining }) => !draining).map(({ nodeId }) => nodeId))
}
