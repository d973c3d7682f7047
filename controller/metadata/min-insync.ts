/** How many replicas must be in sync for a partition to take writes. Pure. */
import type { TopicConfig } from '../../protocol/topic-config.ts'

/** A topic may ask for more than it has replicas: then all of them. */
export function minInsyncOf(config: TopicConfig, replicas: number): number {
  return Math.min(config.minInsyncReplicas, replicas)
}
