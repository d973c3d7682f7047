/** What changed from one image to a later one of the same log, when the records in between are not at hand. Pure. */
import type { MetadataDelta, MetadataImage, TopicMetadata } from './image.ts'

export function compareImages(before: MetadataImage, after: MetadataImage): MetadataDelta {
  const isSame = (topic: TopicMetadata): boolean => before.topics.get(topic.name)?.topicId === topic.topicId
  const topics = [...after.topics.values()]
  const createdTopics = topics.filter((topic) => !isSame(topic))
  return {
    // Those that did not change are told again: whoever follows finds nothing to do for them.
    changedTopics: topics,
    createdTopics,
    removedTopics: [...before.topics.values()].filter(({ name, topicId }) => after.topics.get(name)?.topicId !== topicId),
    changedPartitions: topics.flatMap((topic) => topic.partitions.map((_, partition) => ({ topic, partition }))),
    changedNodes: [...after.nodes.values()],
    removedNodes: [...before.nodes.keys()].filter((nodeId) => !after.nodes.has(nodeId)),
  }
}
