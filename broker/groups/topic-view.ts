/** What groups see of the topics there are, at one version of the metadata. */
import type { Member } from './group-state.ts'

export interface KnownTopic {
  readonly name: string
  readonly topicId: string
  readonly partitionCount: number
}

export interface TopicView {
  /** Of the metadata. */
  readonly version: number
  byName(name: string): KnownTopic | undefined
  byId(topicId: string): KnownTopic | undefined
  /** Topics whose whole name matches, internal ones left out. */
  matching(pattern: string): readonly KnownTopic[]
}

/** The topics that exist of those the member wants, each once. */
export function subscribedTopics({ topics, topicPattern }: Pick<Member, 'topics' | 'topicPattern'>, view: TopicView): KnownTopic[] {
  const found = new Map<string, KnownTopic>()
  for (const name of topics) {
    const topic = view.byName(name)
    if (topic !== undefined) found.set(name, topic)
  }
  if (topicPattern !== '') for (const topic of view.matching(topicPattern)) found.set(topic.name, topic)
  return [...found.values()]
}
