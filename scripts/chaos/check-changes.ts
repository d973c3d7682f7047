/**
 * What was decided about topics. One process changes a topic, one change after the other; what nobody knows the end of may happen at any time later. So there is a
 * set of states that a topic may be in, and each answer, and what is there in the end, must fit one of them.
 */
import type { Anomaly } from './anomalies.ts'
import type { Entry } from './history.ts'

const GONE = 'gone'

type Invoked = Extract<Entry, { readonly op: 'change'; readonly type: 'invoke' }>
type Ended = Extract<Entry, { readonly op: 'change'; readonly type: 'ok' | 'fail' | 'info' }>

/** What may be true of a topic. */
class Topic {
  #states: ReadonlySet<string> = new Set([GONE])
  /** Changes that may still happen. */
  readonly #open = new Set<Invoked>()

  begin(change: Invoked): void {
    this.#open.add(change)
  }

  /** Returns false when the answer fits nothing that may be true. */
  end(change: Invoked, ended: Ended): boolean {
    this.#open.delete(change)
    const before = this.#reachable()
    const [wasGone, wasThere] = [before.has(GONE), [...before].some((state) => state !== GONE)]
    const { verb, value } = change
    if (ended.type === 'ok') {
      this.#states = new Set([verb === 'delete' ? GONE : value])
      // Whoever asks twice and finds a topic gone has what was asked for.
      return verb === 'delete' || (verb === 'create' ? wasGone : wasThere)
    }
    // Asked twice, the first time was it perhaps.
    if (verb === 'create' && ended.error === 'TOPIC_ALREADY_EXISTS')
      this.#states = new Set([...before, value].filter((state) => state !== GONE))
    else if (ended.error === 'UNKNOWN_TOPIC') {
      this.#states = new Set([GONE])
      return verb === 'delete' || wasGone
    } else if (ended.type === 'info') this.#open.add(change)
    return true
  }

  mayBe(state: string): boolean {
    return this.#reachable().has(state)
  }

  /** With any of the open changes, in any order. */
  #reachable(): ReadonlySet<string> {
    const reachable = new Set(this.#states)
    for (const state of reachable) for (const { verb, value } of this.#open) reachable.add(next(state, verb, value))
    return reachable
  }

  toString(): string {
    return [...this.#reachable()].join(' or ')
  }
}

function next(state: string, verb: Invoked['verb'], value: string): string {
  if (verb === 'delete') return GONE
  return (verb === 'create') === (state === GONE) ? value : state
}

export function checkChanges(history: readonly Entry[]): Anomaly[] {
  const anomalies: Anomaly[] = []
  const topics = new Map<string, Topic>()
  const open = new Map<string, Invoked>()
  for (const entry of history) {
    if (entry.op === 'change' && entry.type === 'invoke') {
      const topic = topics.get(entry.topic) ?? new Topic()
      topics.set(entry.topic, topic)
      topic.begin(entry)
      open.set(`${entry.process} ${entry.id}`, entry)
    } else if (entry.op === 'change') {
      const change = open.get(`${entry.process} ${entry.id}`)
      if (change === undefined) throw new Error(`${entry.process} ${entry.id} ends a change that did not begin`)
      const topic = topics.get(change.topic) as Topic
      const before = String(topic)
      if (!topic.end(change, entry))
        anomalies.push({
          kind: 'lost-change',
          what: `${change.verb} ${change.topic} ended with ${entry.type === 'ok' ? 'ok' : entry.error}, when it could only be ${before}`,
        })
    } else if (entry.op === 'topics') anomalies.push(...checkFound(topics, entry.found))
  }
  return anomalies
}

function checkFound(topics: ReadonlyMap<string, Topic>, found: Readonly<Record<string, string>>): Anomaly[] {
  const anomalies: Anomaly[] = []
  for (const [name, topic] of topics) {
    const state = found[name] ?? GONE
    if (!topic.mayBe(state))
      anomalies.push({ kind: 'lost-change', what: `${name} is ${state} in the end, and can only be ${topic.toString()}` })
  }
  for (const name of Object.keys(found))
    if (!topics.has(name)) anomalies.push({ kind: 'phantom', what: `nobody made ${name}, and it is there` })
  return anomalies
}
