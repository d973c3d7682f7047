/**
 * Which partition a key belongs to. The topic names the hash, so that all clients agree, and
 * the answer never changes between versions: golden tests hold it.
 *
 * - `murmur3`: MurmurHash3 x86 32, seed 0, over the bytes of the key.
 * - `murmur2`: MurmurHash2 with Kafka's seed, what Kafka's own clients use.
 *
 * The partition is the hash without its sign bit, modulo the number of partitions.
 */
import murmurHash3 from 'murmurhash3js'
import { invariant } from '../runtime/invariant.ts'
import type { PartitionerName } from './topic-config.ts'

const MURMUR2_SEED = 0x9747b28c
const MURMUR2_FACTOR = 0x5bd1e995

export function partitionForKey(partitioner: PartitionerName, key: Buffer, partitionCount: number): number {
  invariant(partitionCount > 0, 'a topic has at least one partition')
  const hash = partitioner === 'murmur3' ? murmur3(key) : murmur2(key)
  return (hash & 0x7fffffff) % partitionCount
}

/** The package hashes the low byte of each character, so a latin1 string shows it the bytes as they are. */
export function murmur3(key: Buffer): number {
  return murmurHash3.x86.hash32(key.toString('latin1'))
}

export function murmur2(key: Buffer): number {
  const { length } = key
  let hash = MURMUR2_SEED ^ length
  const wordsEnd = length & ~3
  for (let at = 0; at < wordsEnd; at += 4) {
    let word = Math.imul(key.readInt32LE(at), MURMUR2_FACTOR)
    word = Math.imul(word ^ (word >>> 24), MURMUR2_FACTOR)
    hash = Math.imul(hash, MURMUR2_FACTOR) ^ word
  }
  const tail = length & 3
  if (tail > 2) hash ^= (key[wordsEnd + 2] as number) << 16
  if (tail > 1) hash ^= (key[wordsEnd + 1] as number) << 8
  if (tail > 0) hash = Math.imul(hash ^ (key[wordsEnd] as number), MURMUR2_FACTOR)
  hash = Math.imul(hash ^ (hash >>> 13), MURMUR2_FACTOR)
  return (hash ^ (hash >>> 15)) >>> 0
}
