/**
 * What the active controller does unasked. Pure: each call gives the records of one step, and is called again until there is nothing to do.
 *
 * - Leadership goes back to the first replica once it is in sync.
 * - Nodes that are drained lose their replicas, nodes that are filled get their share, a few at a time: a move copies a whole partition.
 *
 * - Internal topics get the usual number of replicas when nodes come, see `raise-internal.ts`.
 *
 * A move replaces one replica by another; the order of the target says who leads when all are in sync.
 */
import type { MetadataRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { wantsPreferred } from './elections.ts'
import type { MetadataImage, NodeMetadata, PartitionMetadata, TopicMetadata } from './image.ts'
import { brokersOf, isMoving, targetReplicas } from './lookup.ts'
import { changePartition, type NodeStates, nodeStates } from './partition-change.ts'
import { moveTo } from './reassign.ts'
import { ReplicaLoads } from './replica-loads.ts'

/** Leaders that change in one step: each makes clients look for the new one. */
export const ELECTIONS_MAX = 100

/** Partitions on the move at a time. Those that wait for a node that is not there do not count. */
export const MOVES_MAX = 16

interface Held {
  readonly topic: TopicMetadata
  readonly partition: number
  readonly state: PartitionMetadata
}

/** Gives leadership back to preferred leaders. */
export function preferLeaders(image: MetadataImage): MetadataRecord[] {
  const nodes = nodeStates(image)
  const records: MetadataRecord[] = []
  for (const { topic, partition, state } of partitionsOf(image)) {
    if (records.length === ELECTIONS_MAX) break
    const record = wantsPreferred(state, nodes) ? changePartition(topic, partition, { election: 'preferred' }, nodes) : undefined
    if (record !== undefined) records.push(record)
  }
  return records
}

/** Begins to move replicas off nodes that are drained. */
export function drainReplicas(image: MetadataImage): MetadataRecord[] {
  const isDraining = (id: number): boolean => image.nodes.get(id)?.draining ?? false
  if (![...image.nodes.keys()].some(isDraining)) return []
  const nodes = nodeStates(image)
  const brokers = brokersOf(image)
  const loads = new ReplicaLoads(image)
  const records: MetadataRecord[] = []
  let free = freeMoves(image, nodes)
  for (const { topic, partition, state } of partitionsOf(image)) {
    if (free <= 0) break
    // A place chosen before on a node that is gone since: there is nothing to wait for.
    const isLost = (id: number): boolean =>
      !nodes.isAlive(id) && state.addingReplicas.includes(id) && state.removingReplicas.some(isDraining)
    let target = targetReplicas(state)
    for (const leaving of target.filter((id) => isDraining(id) || isLost(id))) {
      const next = loads.bestFor(brokers, target, leaving)
      if (next === undefined) continue
      target = loads.relieveLeader(target.with(target.indexOf(leaving), next), leaving === target[0])
    }
    const record = target.some(isDraining) ? undefined : beginMove({ topic, partition, state }, target, nodes)
    if (record === undefined) continue
    loads.moved(targetReplicas(state), target)
    records.push(record)
    free--
  }
  return records
}

/** Begins to move replicas to the nodes `filling`, which came with none, up to what is their share; `filled` are those who have it. */
export function fillNodes(image: MetadataImage, filling: Iterable<number>): { records: MetadataRecord[]; filled: number[] } {
  const nodes = nodeStates(image)
  const mayHold = (nodeId: number): boolean => {
    const node = image.nodes.get(nodeId)
    return node !== undefined && !node.draining && node.roles.includes('broker')
  }
  const wanted = [...filling]
  const filled = wanted.filter((nodeId) => !mayHold(nodeId))
  // The others are not there now, and may come back.
  const present = wanted.filter((nodeId) => mayHold(nodeId) && nodes.mayLead(nodeId))
  if (present.length === 0) return { records: [], filled }
  const plan: Plan = { nodes, brokers: brokersOf(image), loads: new ReplicaLoads(image), free: freeMoves(image, nodes) }
  for (const nodeId of present) {
    const records = fillNode(image, nodeId, plan)
    // One node at a time: a partition must not be moved twice in one step.
    if (records.length > 0) return { records, filled }
    const isComing = partitionsOf(image).some(({ state }) => state.addingReplicas.includes(nodeId))
    if (plan.free > 0 && !isComing) filled.push(nodeId)
  }
  return { records: [], filled }
}

interface Plan {
  readonly nodes: NodeStates
  readonly brokers: readonly NodeMetadata[]
  readonly loads: ReplicaLoads
  readonly free: number
}

function fillNode(image: MetadataImage, nodeId: number, { nodes, brokers, loads, free }: Plan): MetadataRecord[] {
  const share = loads.shareOf(brokers)
  const records: MetadataRecord[] = []
  for (const { topic, partition, state } of partitionsOf(image)) {
    if (records.length >= free) break
    if (isMoving(state)) continue
    const target = targetReplicas(state)
    const next = withNode(target, nodeId, loads, share)
    if (next === undefined || loads.racks(next) < loads.racks(target)) continue
    const record = beginMove({ topic, partition, state }, next, nodes)
    if (record === undefined) continue
    loads.moved(target, next)
    records.push(record)
  }
  return records
}

/** The replicas with `nodeId` in the place of the one whose node holds the most, as leader while it needs some; undefined when that would help nobody. */
function withNode(
  target: readonly number[],
  nodeId: number,
  loads: ReplicaLoads,
  share: { readonly holds: number; readonly leads: number },
): number[] | undefined {
  const [first] = target
  const seat = target.indexOf(nodeId)
  if (first === undefined || (seat < 0 && loads.holds(nodeId) >= share.holds)) return undefined
  const wantsLead = first !== nodeId && loads.leads(nodeId) < share.leads && loads.leads(first) > share.leads
  // It has a copy already: they change places, and nothing is copied.
  if (seat >= 0) return wantsLead ? target.with(seat, first).with(0, nodeId) : undefined
  const fullest = loads.fullest(wantsLead ? target : target.slice(1))
  if (wantsLead) return [nodeId, ...target.filter((id) => id !== fullest)]
  return fullest !== undefined && loads.holds(fullest) > share.holds ? target.with(target.indexOf(fullest), nodeId) : undefined
}

export function beginMove({ topic, partition, state }: Held, target: readonly number[], nodes: NodeStates): MetadataRecord | undefined {
  const present = targetReplicas(state)
  if (target.every((id, at) => id === present[at])) return undefined
  return changePartition(topic, partition, moveTo(state, target), nodes)
}

/** How many moves may begin. */
export function freeMoves(image: MetadataImage, { isAlive }: NodeStates): number {
  return partitionsOf(image).reduce((free, { state }) => {
    const isStuck = state.addingReplicas.some((id) => !isAlive(id) && !state.removingReplicas.includes(id))
    return isMoving(state) && !isStuck ? free - 1 : free
  }, MOVES_MAX)
}

function partitionsOf(image: MetadataImage): Held[] {
  return [...image.topics.values()].flatMap((topic) => topic.partitions.map((state, partition) => ({ topic, partition, state })))
}
