/**
 * An immutable map with texts as keys, whose successors share with it what they do not change.
 *
 * The entries lie in a fixed number of buckets by a hash of their key; a change copies the buckets it touches and the
 * list of buckets. Iterates bucket by bucket: maps with the same history have the same order, but it means nothing.
 */

/** With 100,000 entries a bucket has a hundred: copying one, and the list, takes microseconds. */
const BUCKETS = 1024

type Bucket<Value> = ReadonlyMap<string, Value>

export class SharedMap<Value> implements ReadonlyMap<string, Value> {
  readonly #buckets: readonly Bucket<Value>[]
  readonly size: number

  private constructor(buckets: readonly Bucket<Value>[], size: number) {
    this.#buckets = buckets
    this.size = size
  }

  static empty<Value>(): SharedMap<Value> {
    return new SharedMap(Array<Bucket<Value>>(BUCKETS).fill(new Map()), 0)
  }

  /** This map without the keys `removed`, then with the entries `set`. Itself when there are none of either. */
  with(removed: Iterable<string>, set: Iterable<readonly [string, Value]>): SharedMap<Value> {
    const copies = new Map<number, Map<string, Value>>()
    const copyFor = (key: string): Map<string, Value> => {
      const number = bucketOf(key)
      const copy = copies.get(number) ?? new Map(this.#buckets[number])
      copies.set(number, copy)
      return copy
    }
    for (const key of removed) copyFor(key).delete(key)
    for (const [key, value] of set) copyFor(key).set(key, value)
    if (copies.size === 0) return this
    const buckets = [...this.#buckets]
    let size = this.size
    for (const [number, copy] of copies) {
      size += copy.size - (buckets[number] as Bucket<Value>).size
      buckets[number] = copy
    }
    return new SharedMap(buckets, size)
  }

  get(key: string): Value | undefined {
    return this.#buckets[bucketOf(key)]?.get(key)
  }

  has(key: string): boolean {
    return this.#buckets[bucketOf(key)]?.has(key) ?? false
  }

  forEach(visit: (value: Value, key: string, map: ReadonlyMap<string, Value>) => void): void {
    for (const [key, value] of this) visit(value, key, this)
  }

  *entries(): MapIterator<[string, Value]> {
    for (const bucket of this.#buckets) if (bucket.size > 0) yield* bucket
  }

  *keys(): MapIterator<string> {
    for (const bucket of this.#buckets) if (bucket.size > 0) yield* bucket.keys()
  }

  *values(): MapIterator<Value> {
    for (const bucket of this.#buckets) if (bucket.size > 0) yield* bucket.values()
  }

  [Symbol.iterator](): MapIterator<[string, Value]> {
    return this.entries()
  }
}

/** FNV-1a. The same on every node, though nothing depends on it. */
function bucketOf(key: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193)
  return (hash ^ (hash >>> 16)) & (BUCKETS - 1)
}
