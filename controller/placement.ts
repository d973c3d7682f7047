/**
 * Which nodes hold the replicas of new partitions. Pure.
 *
 * Nodes are taken in a ring ordered so that neighbours are on different racks. Partition p gets the replicas that follow
 * position `start + p`; the first is the preferred leader. So every node leads and holds, within one, equally
 * many, and the replicas of a partition are spread over racks.
 */
import { invariant } from '../runtime/invariant.ts'

export interface PlacementNode {
  readonly nodeId: number
  readonly rack: string
}

/** Replicas for `partitionCount` partitions; `start` shifts the ring, so that leaders of different topics spread too. */
export function placeReplicas(nodes: readonly PlacementNode[], partitionCount: number, replicas: number, start: number): number[][] {
  invariant(replicas >= 1 && replicas <= nodes.length, 'there are as many nodes as replicas')
  const ring = alternateRacks(nodes)
  return Array.from({ length: partitionCount }, (_, partition) =>
    Array.from({ length: replicas }, (_unused, replica) => ring[(start + partition + replica) % ring.length] as number),
  )
}

/** Node ids, one of each rack in turn. */
function alternateRacks(nodes: readonly PlacementNode[]): number[] {
  const sorted = [...nodes].sort((a, b) => a.nodeId - b.nodeId)
  const racks = [...Map.groupBy(sorted, (node) => node.rack).values()].sort((a, b) => b.length - a.length)
  const depth = Math.max(0, ...racks.map((rack) => rack.length))
  return Array.from({ length: depth }, (_, level) => racks.flatMap((rack) => rack[level]?.nodeId ?? [])).flat()
}
