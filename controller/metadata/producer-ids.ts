/** Producer ids, handed to nodes in blocks and never twice. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { Decision } from './decision.ts'
import type { MetadataImage } from './image.ts'
import { existingNode } from './lookup.ts'

/** Ids in a block. What a node has not used when it stops is lost: there are 2^53. */
export const PRODUCER_ID_BLOCK = 1000

/** `[first, next)`. */
export interface ProducerIdBlock {
  readonly first: number
  readonly next: number
}

export function allocateProducerIds(image: MetadataImage, nodeId: number): Decision<ProducerIdBlock> {
  existingNode(image, nodeId)
  const first = image.nextProducerId
  const next = first + PRODUCER_ID_BLOCK
  if (!Number.isSafeInteger(next)) throw new TidemarkError('LIMIT_EXCEEDED', `all producer ids below ${first} are taken, there are no more`)
  return {
    records: [{ record: { $case: 'producerIdBlock', value: { nodeId, firstProducerId: first, nextProducerId: next } } }],
    response: { first, next },
  }
}
