/**
 * What clients did and saw, and what that must amount to. Values are unique, so that each can be recognised.
 *
 * - inconsistent: one offset, two values; duplicate: one value, two offsets; lost: acknowledged and not there in the end
 * - phantom: a send that certainly failed, and is there; disorder: of one key and producer, against the order of the sends
 * - skip, back: a reader that misses an offset or gets one again
 */
import { Broken } from './oracles.ts'

export interface Sent {
  readonly producer: string
  readonly topic: string
  readonly key: string
  readonly value: string
  outcome: 'open' | 'ok' | 'failed' | 'indeterminate'
  /** When it is known. */
  partition: number
  offset: number
}

export class History {
  readonly sends: Sent[] = []
  readonly #byValue = new Map<string, Sent>()
  /** Value at each offset anybody has seen, by `topic-partition@offset`. */
  readonly #values = new Map<string, string>()
  /** Where each value was seen. */
  readonly #places = new Map<string, string>()
  readCount = 0

  sending(producer: string, topic: string, key: string, value: string): Sent {
    const sent: Sent = { producer, topic, key, value, outcome: 'open', partition: -1, offset: -1 }
    this.sends.push(sent)
    this.#byValue.set(value, sent)
    return sent
  }

  acknowledged(sent: Sent, partition: number, offset: number): void {
    sent.outcome = 'ok'
    sent.partition = partition
    sent.offset = offset
    this.#seen(sent.topic, partition, offset, sent.value)
  }

  /** A reader got a record. */
  read(topic: string, partition: number, offset: number, value: string): void {
    this.readCount++
    if (!this.#byValue.has(value)) throw new Broken(`${topic}-${partition}@${offset} has ${value}, which nobody sent`)
    this.#seen(topic, partition, offset, value)
  }

  get acknowledgedCount(): number {
    return this.sends.reduce((count, { outcome }) => count + (outcome === 'ok' ? 1 : 0), 0)
  }

  get isSettled(): boolean {
    return this.sends.every(({ outcome }) => outcome !== 'open')
  }

  /** `final`: all records of a topic as they are in the end, by partition, in order. */
  checkFinal(topic: string, final: ReadonlyMap<number, readonly { readonly offset: number; readonly value: string }[]>): void {
    const places = new Map<string, string>()
    for (const [partition, records] of final) {
      for (const [at, { offset, value }] of records.entries()) {
        if (at > 0 && offset !== (records[at - 1]?.offset ?? 0) + 1)
          throw new Broken(`${topic}-${partition}: offset ${offset} follows ${records[at - 1]?.offset}`)
        const earlier = places.get(value)
        if (earlier !== undefined) throw new Broken(`${value} is there twice, at ${earlier} and ${partition}@${offset}`)
        places.set(value, `${partition}@${offset}`)
        this.read(topic, partition, offset, value)
        if (this.#byValue.get(value)?.outcome === 'failed') throw new Broken(`${value} certainly failed, and is at ${partition}@${offset}`)
      }
    }
    for (const sent of this.sends) {
      if (sent.topic !== topic || sent.outcome !== 'ok') continue
      if (places.get(sent.value) !== `${sent.partition}@${sent.offset}`)
        throw new Broken(
          `${sent.value} was acknowledged at ${sent.partition}@${sent.offset} and is ${places.get(sent.value) ?? 'not there'}`,
        )
    }
    this.#checkOrder(topic, final)
  }

  #checkOrder(topic: string, final: ReadonlyMap<number, readonly { readonly value: string }[]>): void {
    const ranks = new Map(this.sends.map(({ value }, rank) => [value, rank]))
    for (const [partition, records] of final) {
      const last = new Map<string, string>()
      for (const { value } of records) {
        const sent = this.#byValue.get(value) as Sent
        const line = `${sent.producer} ${sent.key}`
        const before = last.get(line)
        if (before !== undefined && (ranks.get(before) as number) > (ranks.get(value) as number))
          throw new Broken(`${topic}-${partition}: ${value} stands behind ${before}, which was sent later with the same key`)
        last.set(line, value)
      }
    }
  }

  #seen(topic: string, partition: number, offset: number, value: string): void {
    const place = `${topic}-${partition}@${offset}`
    const known = this.#values.get(place)
    if (known !== undefined && known !== value) throw new Broken(`${place} is ${known} and ${value}`)
    const elsewhere = this.#places.get(value)
    if (elsewhere !== undefined && elsewhere !== place) throw new Broken(`${value} is at ${elsewhere} and at ${place}`)
    this.#values.set(place, value)
    this.#places.set(value, place)
  }
}
