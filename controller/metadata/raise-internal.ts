/**
 * Internal topics that were made while there were too few nodes get the usual number of replicas when nodes come. Pure.
 *
 * Nobody chose that `__consumer_offsets` has a single copy: it was made when the first group was used, on the node there was.
 */
import type { MetadataRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { isInternalTopic } from '../../protocol/internal-topics.ts'
import { setMinIsr } from './configs.ts'
import { beginMove, freeMoves } from './duties.ts'
import type { MetadataImage } from './image.ts'
import { brokersOf, isMoving, targetReplicas } from './lookup.ts'
import { nodeStates } from './partition-change.ts'
import { ReplicaLoads } from './replica-loads.ts'
import { REPLICAS_USUAL, USUAL_MIN_ISR } from './topics.ts'

/** Stands for the node that is looked for. */
const NOBODY = -1

/** The records of one step; none when there is nothing to do. */
export function raiseInternal(image: MetadataImage): MetadataRecord[] {
  const brokers = brokersOf(image)
  if (brokers.length < REPLICAS_USUAL) return []
  const nodes = nodeStates(image)
  const loads = new ReplicaLoads(image)
  const records: MetadataRecord[] = []
  let free = freeMoves(image, nodes)
  for (const topic of image.topics.values()) {
    if (!isInternalTopic(topic.name)) continue
    for (const [partition, state] of topic.partitions.entries()) {
      const before = targetReplicas(state)
      if (free <= 0 || isMoving(state) || before.length >= REPLICAS_USUAL) continue
      let target = before
      for (let next: number | undefined = before[0]; next !== undefined && target.length < REPLICAS_USUAL; ) {
        next = loads.bestFor(brokers, [...target, NOBODY], NOBODY)
        if (next !== undefined) target = [...target, next]
      }
      const record = beginMove({ topic, partition, state }, target, nodes)
      if (record === undefined) continue
      loads.moved(before, target)
      records.push(record)
      free--
    }
    // Not before all copies are there: until then it would refuse writes.
    const isWhole = topic.partitions.every((state) => !isMoving(state) && state.replicas.length >= REPLICAS_USUAL)
    if (isWhole && topic.config.minInsyncReplicas < USUAL_MIN_ISR) records.push(...setMinIsr(image, topic, USUAL_MIN_ISR))
  }
  return records
}
