/** The `Controller` service: what other nodes ask of this one as a controller. */
import { fetchMetadata } from '../../../controller/metadata-feed.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import type { ControllerServer } from '../../../protocol/gen/tidemark/v1/controller.ts'
import type { ControllerNode } from '../../controller-node.ts'
import { unary } from './status.ts'

/** `node`: undefined while, or because, the node is no controller. */
export function createControllerService(node: () => ControllerNode | undefined): ControllerServer {
  const existing = (): ControllerNode => {
    const found = node()
    if (found === undefined) throw new TidemarkError('UNAVAILABLE', 'the node is not a controller, or not yet', { retryAfterMs: 100 })
    return found
  }
  return {
    registerNode: unary(async (request) => existing().controller.registerNode(request)),
    heartbeat: unary(async (request) => existing().controller.heartbeat(request)),
    alterPartitions: unary(async (request) => existing().controller.alterPartitions(request)),
    distrustReplicas: unary(async (request) => existing().controller.distrustReplicas(request)),
    allocateProducerIds: unary(async (request) => existing().controller.allocateProducerIds(request)),
    readMetadataVersion: unary(async (request) => existing().controller.readMetadataVersion(request)),
    fetchMetadata: unary(async (request, { signal }) => {
      const { log, controller } = existing()
      const { clusterId } = controller.image
      if (request.clusterId !== '' && clusterId !== '' && request.clusterId !== clusterId)
        throw new TidemarkError(
          'INCONSISTENT_CLUSTER_ID',
          `node ${request.nodeId} belongs to cluster ${request.clusterId}, and this is cluster ${clusterId}`,
        )
      return fetchMetadata(log, controller.view, request, signal)
    }),
  }
}
