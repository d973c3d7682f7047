/** How many replicas each node holds, and of how many it is the preferred leader, once all moves are over. */
import type { MetadataImage } from './image.ts'
import { targetReplicas } from './lookup.ts'

export class ReplicaLoads {
  readonly #image: MetadataImage
  readonly #holds = new Map<number, number>()
  readonly #leads = new Map<number, number>()
  #replicas = 0

  constructor(image: MetadataImage) {
    this.#image = image
    for (const { partitions } of image.topics.values()) {
      for (const state of partitions) this.#count(targetReplicas(state), 1)
    }
  }

  holds(nodeId: number): number {
    return this.#holds.get(nodeId) ?? 0
  }

  leads(nodeId: number): number {
    return this.#leads.get(nodeId) ?? 0
  }

  /** What every one of `nodes` would have at least, were all of them even. */
  shareOf(nodes: readonly unknown[]): { readonly holds: number; readonly leads: number } {
    const count = Math.max(1, nodes.length)
    return { holds: Math.floor(this.#replicas / count), leads: Math.floor(this.#image.partitionCount / count) }
  }

  moved(from: readonly number[], to: readonly number[]): void {
    this.#count(from, -1)
    this.#count(to, 1)
  }

  /** Different racks among the nodes. */
  racks(nodeIds: readonly number[]): number {
    return new Set(nodeIds.map((id) => this.#rackOf(id))).size
  }

  /** Who of `nodes` should take the place of `leaving`: on a rack of its own if that can be, then who has the least. */
  bestFor(nodes: readonly { readonly nodeId: number }[], target: readonly number[], leaving: number): number | undefined {
    const seat = target.indexOf(leaving)
    const rank = (id: number): readonly [number, number, number] => [
      -this.racks(target.with(seat, id)),
      seat === 0 ? this.leads(id) : this.holds(id),
      this.holds(id),
    ]
    const ranked = nodes
      .filter(({ nodeId }) => !target.includes(nodeId))
      .map(({ nodeId }) => ({ nodeId, rank: rank(nodeId) }))
      .sort((a, b) => a.rank[0] - b.rank[0] || a.rank[1] - b.rank[1] || a.rank[2] - b.rank[2] || a.nodeId - b.nodeId)
    return ranked[0]?.nodeId
  }

  fullest(nodeIds: readonly number[]): number | undefined {
    return nodeIds.toSorted((a, b) => this.holds(b) - this.holds(a))[0]
  }

  /** `target`, its first replica being new: led by who leads the least of them. */
  relieveLeader(target: number[], isFirstNew: boolean): number[] {
    const [first] = target
    if (!isFirstNew || first === undefined) return target
    const least = target.reduce((best, id) => (this.leads(id) < this.leads(best) ? id : best), first)
    return target.with(target.indexOf(least), first).with(0, least)
  }

  #count(nodeIds: readonly number[], by: number): void {
    const [first] = nodeIds
    if (first !== undefined) this.#leads.set(first, this.leads(first) + by)
    for (const id of nodeIds) this.#holds.set(id, this.holds(id) + by)
    this.#replicas += nodeIds.length * by
  }

  #rackOf(nodeId: number): string {
    // Where no racks are set every node is one.
    return this.#image.nodes.get(nodeId)?.rack || `node ${nodeId}`
  }
}
