/** Which nodes the active controller is filling; everything else about its duties is decided from the image (`metadata/duties.ts`). */
import type { MetadataRecord } from '../protocol/gen/tidemark/v1/metadata.ts'
import { drainReplicas, fillNodes, preferLeaders } from './metadata/duties.ts'
import type { MetadataDelta, MetadataImage } from './metadata/image.ts'

type Step = (image: MetadataImage) => MetadataRecord[]

export class DutyRounds {
  /** Not written down: a controller that becomes active begins with those that have nothing yet, or are in the middle of it. */
  readonly #filling = new Set<number>()
  /** Nodes that are part of the cluster and not drained. */
  #members: ReadonlySet<number> = new Set()

  /** One step of each duty, to be decided one after the other. */
  readonly steps: readonly Step[] = [preferLeaders, drainReplicas, (image) => this.#fill(image)]

  restart(image: MetadataImage): void {
    this.#filling.clear()
    const partitions = [...image.topics.values()].flatMap((topic) => topic.partitions)
    const held = new Set(partitions.flatMap(({ replicas, addingReplicas }) => replicas.filter((id) => !addingReplicas.includes(id))))
    for (const nodeId of image.nodes.keys()) {
      if (!held.has(nodeId) || partitions.some(({ addingReplicas }) => addingReplicas.includes(nodeId))) this.#filling.add(nodeId)
    }
    this.#members = membersOf(image)
  }

  /** Nodes that are new, or may get replicas again, get their share. */
  follow(image: MetadataImage, { changedNodes, removedNodes }: Pick<MetadataDelta, 'changedNodes' | 'removedNodes'>): void {
    if (changedNodes.length === 0 && removedNodes.length === 0) return
    const members = membersOf(image)
    for (const nodeId of members) if (!this.#members.has(nodeId)) this.#filling.add(nodeId)
    this.#members = members
  }

  #fill(image: MetadataImage): MetadataRecord[] {
    if (this.#filling.size === 0) return []
    const { records, filled } = fillNodes(image, this.#filling)
    for (const nodeId of filled) this.#filling.delete(nodeId)
    return records
  }
}

function membersOf(image: MetadataImage): Set<number> {
  return new Set([...image.nodes.values()].filter(({ draining }) => !draining).map(({ nodeId }) => nodeId))
}
