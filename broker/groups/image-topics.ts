/** The topics of a metadata image, as groups see them. */
import type { MetadataImage, TopicMetadata } from '../../controller/metadata/image.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { TopicPatterns } from './topic-patterns.ts'
import type { KnownTopic, TopicView } from './topic-view.ts'

export class ImageTopics implements TopicView {
  readonly #image: MetadataImage
  readonly #patterns: TopicPatterns

  constructor(image: MetadataImage, patterns: TopicPatterns) {
    this.#image = image
    this.#patterns = patterns
  }

  get version(): number {
    return this.#image.version
  }

  byName(name: string): KnownTopic | undefined {
    const topic = this.#image.topics.get(name)
    return topic && knownTopicOf(topic)
  }

  byId(topicId: string): KnownTopic | undefined {
    const name = this.#image.topicNamesById.get(topicId)
    return name === undefined ? undefined : this.byName(name)
  }

  /** An expression that cannot be used matches nothing: it was checked when its member joined. */
  matching(pattern: string): KnownTopic[] {
    try {
      const topics = [...this.#image.topics.values()].filter(({ name, internal }) => !internal && this.#patterns.matches(pattern, name))
      return topics.map(knownTopicOf)
    } catch (error) {
      if (TidemarkError.is(error)) return []
      throw error
    }
  }
}

function knownTopicOf({ name, topicId, partitions }: TopicMetadata): KnownTopic {
  return { name, topicId, partitionCount: partitions.length }
}
