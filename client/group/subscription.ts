/** What a member subscribes to: topics by name, or all whose name a regular expression finds. */
import { TidemarkError } from '../../protocol/errors.ts'
import { refsOf } from '../consumer/consumer.ts'
import { refOf, type TopicLike, type TopicRef } from '../topic.ts'

export interface Subscription<K, V> {
  readonly topics: readonly string[]
  /** As the node takes it; empty: none. */
  readonly pattern: string
  refOf(topic: string): TopicRef<K, V>
}

export function subscriptionTo<K, V>(topics: TopicLike<K, V> | readonly TopicLike<K, V>[] | RegExp): Subscription<K, V> {
  if (topics instanceof RegExp) return { topics: [], pattern: patternOf(topics), refOf }
  const refs = refsOf(topics)
  if (refs.size === 0) throw new TidemarkError('USAGE', 'a consumer needs a topic')
  return { topics: [...refs.keys()], pattern: '', refOf: (topic) => refs.get(topic) as TopicRef<K, V> }
}

/**
 * The node matches whole names in RE2 syntax, without look-around and back references; a regular expression of JavaScript finds a part unless it says where
 * the name begins and ends.
 */
function patternOf({ source, flags }: RegExp): string {
  const whole = /^\^([^|]*)\$$/.exec(source)?.[1]
  return `${flags.includes('i') ? '(?i)' : ''}${whole ?? `.*(?:${source}).*`}`
}
