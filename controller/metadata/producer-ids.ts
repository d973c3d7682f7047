/** Producer ids, handed to nodes in blocks and never twice. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { AllocateProducerIdsRequest, AllocateProducerIdsResponse } from '../../protocol/gen/tidemark/v1/controller.ts'
import type { Decision } from './decision.ts'
import type { MetadataImage } from './image.ts'
import { checkCluster, existingRun } from './nodes.ts'

/** Ids in a block. What a node has not used when it stops is lost: there are 2^53. */
export const PRODUCER_ID_BLOCK = 1000

export function allocateProducerIds(
  image: MetadataImage,
  { clusterId, nodeId, nodeEpoch }: AllocateProducerIdsRequest,
): Decision<AllocateProducerIdsResponse> {
  checkCluster(image, clusterId)
  existingRun(image, nodeId, nodeEpoch)
  const firstProducerId = image.nextProducerId
  const nextProducerId = firstProducerId + PRODUCER_ID_BLOCK
  if (!Number.isSafeInteger(nextProducerId))
    throw new TidemarkError('LIMIT_EXCEEDED', `all producer ids below ${firstProducerId} are taken, there are no more`)
  return {
    records: [{ record: { $case: 'producerIdBlock', value: { nodeId, firstProducerId, nextProducerId } } }],
    response: { error: undefined, firstProducerId, nextProducerId },
  }
}
