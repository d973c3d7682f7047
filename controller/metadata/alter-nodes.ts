/** Emptying nodes, letting them be filled again, removing them. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import {
  type AlterNode,
  type AlterNodeResult,
  type AlterNodesRequest,
  type AlterNodesResponse,
  NodeAction,
} from '../../protocol/gen/tidemark/v1/cluster.ts'
import type { MetadataRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { type Decision, decideEntry, repeatChecker } from './decision.ts'
import type { MetadataImage } from './image.ts'
import { existingNode, targetReplicas } from './lookup.ts'
import { setDraining } from './node-states.ts'

export function alterNodes(image: MetadataImage, request: AlterNodesRequest): Decision<AlterNodesResponse> {
  const records: MetadataRecord[] = []
  const refuseRepeated = repeatChecker(
    'node',
    request.nodes.map(({ nodeId }) => String(nodeId)),
  )
  // Nodes drained by one request do not count as places for each other's replicas.
  const drained = request.nodes.filter(({ action }) => action === NodeAction.DRAIN).map(({ nodeId }) => nodeId)
  const nodes = request.nodes.map((wanted) =>
    decideEntry<AlterNodeResult>(
      () => {
        refuseRepeated(String(wanted.nodeId))
        records.push(...alterNode(image, wanted, drained))
        return { nodeId: wanted.nodeId, error: undefined }
      },
      (error) => ({ nodeId: wanted.nodeId, error }),
    ),
  )
  return { records, response: { nodes } }
}

function alterNode(image: MetadataImage, { nodeId, action }: AlterNode, drained: readonly number[]): MetadataRecord[] {
  const node = existingNode(image, nodeId)
  switch (action) {
    case NodeAction.DRAIN:
      if (node.draining) return []
      checkPlaces(image, nodeId, drained)
      return [setDraining(node, true)]
    case NodeAction.UNDRAIN:
      return node.draining ? [setDraining(node, false)] : []
    case NodeAction.REMOVE:
      if (!node.fenced) throw new TidemarkError('NODE_IN_USE', `node ${nodeId} is alive; stop it first`)
      checkEmpty(image, nodeId)
      return [{ record: { $case: 'removeNode', value: { nodeId } } }]
    default:
      throw new TidemarkError('INVALID_REQUEST', `the request does not say what shall become of node ${nodeId}`)
  }
}

/** A drain that cannot end is not begun. */
function checkPlaces(image: MetadataImage, nodeId: number, drained: readonly number[]): void {
  const places = [...image.nodes.values()].filter(
    (node) => node.roles.includes('broker') && !node.draining && node.nodeId !== nodeId && !drained.includes(node.nodeId),
  ).length
  for (const { name, partitions } of image.topics.values()) {
    const replicas = Math.max(
      0,
      ...partitions
        .map((state) => targetReplicas(state))
        .filter((ids) => ids.includes(nodeId))
        .map((ids) => ids.length),
    )
    if (replicas > places)
      throw new TidemarkError(
        'NODE_IN_USE',
        `topic ${name} has ${replicas} replicas, and only ${places} nodes would be left to hold them; add a node or take replicas away first`,
      )
  }
}

function checkEmpty(image: MetadataImage, nodeId: number): void {
  for (const { name, partitions } of image.topics.values()) {
    const held = partitions.findIndex(({ replicas }) => replicas.includes(nodeId))
    if (held >= 0) throw new TidemarkError('NODE_IN_USE', `node ${nodeId} holds a replica of ${name}-${held}; drain it first`)
  }
}
