/**
 * Which nodes hold the replicas of new partitions. Pure.
 *
 * Partitions are placed one after the other. The leader goes to the node that leads the fewest of them, the followers
 * to racks that do not hold the partition yet and there to the nodes that hold the fewest. Ties go round a ring in which neighbours are on
 * different racks. So leaders are even within one, and so are replicas where no racks are set; over racks of one size replicas are
 * even within two. With racks of different sizes a copy on another rack is worth more than an even load.
 */
import { invariant } from '../runtime/invariant.ts'

export interface PlacementNode {
  readonly nodeId: number
  readonly rack: string
}

/** A node while partitions are placed on it. */
interface Load {
  readonly nodeId: number
  readonly rack: string
  /** Place in the ring. */
  readonly seat: number
  leads: number
  holds: number
}

/** Replicas for `partitionCount` partitions, the leader first; `start` shifts the ring, so that leaders of different topics spread too. */
export function placeReplicas(nodes: readonly PlacementNode[], partitionCount: number, replicas: number, start: number): number[][] {
  invariant(replicas >= 1 && replicas <= nodes.length, 'there are as many nodes as replicas')
  const ring = alternateRacks(nodes).map(({ nodeId, rack }, seat): Load => ({ nodeId, rack, seat, leads: 0, holds: 0 }))
  return Array.from({ length: partitionCount }, (_, partition) => placePartition(ring, replicas, start + partition))
}

function placePartition(ring: readonly Load[], replicas: number, start: number): number[] {
  const turn = (node: Load): number => (node.seat - (start % ring.length) + ring.length) % ring.length
  const leader = leastOf(ring, (node) => [node.leads, node.holds, turn(node)])
  const holders = [leader]
  while (holders.length < replicas) {
    const others = ring.filter((node) => !holders.includes(node))
    // Of nodes that hold equally many, one that has led already: the others will hold one more when they lead.
    holders.push(leastOf(others, (node) => [holders.filter(({ rack }) => rack === node.rack).length, node.holds, -node.leads, turn(node)]))
  }
  leader.leads++
  for (const holder of holders) holder.holds++
  return holders.map(({ nodeId }) => nodeId)
}

function leastOf(nodes: readonly Load[], rank: (node: Load) => readonly number[]): Load {
  const [first, ...others] = nodes
  invariant(first !== undefined, 'there is a node to choose')
  return others.reduce((least, node) => (isLess(rank(node), rank(least)) ? node : least), first)
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  const different = a.findIndex((value, index) => value !== b[index])
  return different >= 0 && (a[different] as number) < (b[different] as number)
}

/** One node of each rack in turn. */
function alternateRacks(nodes: readonly PlacementNode[]): PlacementNode[] {
  const sorted = [...nodes].sort((a, b) => a.nodeId - b.nodeId)
  const racks = [...Map.groupBy(sorted, (node) => node.rack).values()].sort((a, b) => b.length - a.length)
  const depth = Math.max(0, ...racks.map((rack) => rack.length))
  return Array.from({ length: depth }, (_, level) => racks.flatMap((rack) => rack[level] ?? [])).flat()
}
