/** What becomes of partitions when a node comes up, is let in, falls silent or wants to leave. Pure. */
import type { NodeHeartbeatRequest, RegisterNodeRequest } from '../../protocol/gen/tidemark/v1/controller.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { MetadataRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import type { MetadataImage, NodeMetadata, PartitionMetadata, TopicMetadata } from './image.ts'
import { changePartition, type NodeStates, nodeStates, type WantedChange } from './partition-change.ts'

/** The states a node may take on. */
interface StateChange {
  readonly fenced: boolean
  readonly shuttingDown: boolean
}

/** The node leads nothing and is in no ISR from now on. */
export function fenceNodes(image: MetadataImage, nodeIds: readonly number[]): MetadataRecord[] {
  const nodes = nodeIds.flatMap((nodeId) => image.nodes.get(nodeId) ?? []).filter(({ fenced }) => !fenced)
  if (nodes.length === 0) return []
  const states = nodeStates(image, new Map(nodes.map(({ nodeId }) => [nodeId, { fenced: true, shuttingDown: false }])))
  const gone = nodes.map(({ nodeId }) => nodeId)
  return [
    ...nodes.map((node) => stateRecord(node, { fenced: true, shuttingDown: false })),
    ...changeEach(image, states, (partition) =>
      gone.some((id) => partition.isr.includes(id) || partition.leader === id) ? { isr: without(partition.isr, gone) } : undefined,
    ),
  ]
}

/** The node may lead again: partitions without a leader look whether it can be theirs. */
export function unfenceNode(image: MetadataImage, node: NodeMetadata): MetadataRecord[] {
  const state = { fenced: false, shuttingDown: false }
  const states = nodeStates(image, new Map([[node.nodeId, state]]))
  return [
    stateRecord(node, state),
    ...changeEach(image, states, (partition) => (partition.leader === -1 && partition.replicas.includes(node.nodeId) ? {} : undefined)),
  ]
}

/** The node wants to stop: others take over what they can. */
export function retireNode(image: MetadataImage, node: NodeMetadata): MetadataRecord[] {
  const state = { fenced: false, shuttingDown: true }
  const states = nodeStates(image, new Map([[node.nodeId, state]]))
  return [stateRecord(node, state), ...changeEach(image, states, ({ isr }) => (isr.includes(node.nodeId) ? {} : undefined))]
}

/** What a registration changes besides the node itself: whatever the node was before, it is not that any more. */
export function replaceRun(image: MetadataImage, before: NodeMetadata, request: RegisterNodeRequest): MetadataRecord[] {
  const { nodeId } = before
  const isOtherDisk = before.directoryId !== request.directoryId
  const isUnclean = request.cleanShutdownEpoch !== before.nodeEpoch
  const states = nodeStates(image, new Map([[nodeId, { fenced: true, shuttingDown: false }]]))
  return changeEach(image, states, (partition, topic) => {
    const { isr, elr, leader } = partition
    if (!isr.includes(nodeId) && !elr.includes(nodeId) && leader !== nodeId) return undefined
    const others = without([...isr, ...elr], [nodeId])
    // With an image of what it had a part of it is there; whether that shall do, an operator decides.
    if (isOtherDisk && others.length === 0 && request.imageOf !== before.directoryId) {
      throw new TidemarkError(
        'DATA_DIR_INVALID',
        `node ${nodeId} had the data directory ${before.directoryId} and comes with ${request.directoryId}, and nobody else has everything of topic ${topic.name}; bring the old one back, or start with another node id`,
      )
    }
    // What was only in the page cache may be gone. With fsync nothing is; and whoever is the last to know is better than nobody.
    const mayLackRecords = isUnclean && topic.config.durability !== 'fsync' && others.length > 0
    return { isr: without(isr, [nodeId]), ...((isOtherDisk || mayLackRecords) && { distrusted: [nodeId] }) }
  })
}

/** The change of state that a sign of life brings. */
export function heartbeatRecords(image: MetadataImage, node: NodeMetadata, request: NodeHeartbeatRequest): MetadataRecord[] {
  const { wantFence, wantShutdown, metadataVersion, nodeEpoch, nodeId } = request
  if (wantFence) return node.fenced ? [] : fenceNodes(image, [nodeId])
  if (wantShutdown) return node.fenced || node.shuttingDown ? [] : retireNode(image, node)
  if (node.shuttingDown || (node.fenced && metadataVersion >= nodeEpoch)) return unfenceNode(image, node)
  return []
}

/** What `wish` wants of each partition that has something to do with the matter. */
export function changeEach(
  image: MetadataImage,
  nodes: NodeStates,
  wish: (partition: PartitionMetadata, topic: TopicMetadata, number: number) => WantedChange | undefined,
): MetadataRecord[] {
  const records: MetadataRecord[] = []
  for (const topic of image.topics.values()) {
    for (const [number, partition] of topic.partitions.entries()) {
      const wanted = wish(partition, topic, number)
      const record = wanted && changePartition(topic, number, wanted, nodes)
      if (record !== undefined) records.push(record)
    }
  }
  return records
}

/** The node gets no new replicas, or gets some again; for `drainReplicas` and `fillNodes` to follow. */
export function setDraining(node: NodeMetadata, draining: boolean): MetadataRecord {
  return stateRecord({ ...node, draining }, node)
}

function stateRecord({ nodeId, nodeEpoch, draining }: NodeMetadata, { fenced, shuttingDown }: StateChange): MetadataRecord {
  return { record: { $case: 'nodeState', value: { nodeId, nodeEpoch, fenced, shuttingDown, draining } } }
}

function without(ids: readonly number[], gone: readonly number[]): number[] {
  return ids.filter((id) => !gone.includes(id))
}
