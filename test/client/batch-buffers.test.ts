import { describe, expect, it } from 'vitest'
import { readProducerId } from '../../protocol/batch-header.ts'
import { BatchBuffers } from '../../client/producer/batch-buffers.ts'
import { type OutBatch, PartitionQueue } from '../../client/producer/partition-queue.ts'

const BATCH_BYTES = 10_000

function recordOf(letter: string) {
  const value = Buffer.alloc(6000, letter)
  return { key: null, value, headers: [], timestampMs: 0, partition: undefined, sizeBytes: value.length + 100 }
}

function createQueue() {
  const buffers = new BatchBuffers()
  const queue = new PartitionQueue('t', 0, 16, buffers)
  /** A batch with one record, in flight. */
  const next = (letter: string): OutBatch => {
    queue.append(recordOf(letter), undefined, 0, BATCH_BYTES, 0)
    return queue.take('none')
  }
  // How large they are the queue knows from the first one.
  next('x')
  return { queue, next }
}

describe('the buffer of a batch', () => {
  it('serves another batch once its own is acknowledged, and not before', () => {
    const { queue, next } = createQueue()
    const [a, b] = [next('a'), next('b')]
    expect(b.builder.buffer).not.toBe(a.builder.buffer)
    const content = Buffer.from(b.bytes as Buffer)
    queue.acknowledged(a)
    const c = next('c')
    expect(c.builder.buffer).toBe(a.builder.buffer)
    expect(b.bytes).toEqual(content)
    expect(next('d').builder.buffer).not.toBe(b.builder.buffer)
  })

  it('serves no other batch when its own was sent twice: the first attempt may still be on its way', () => {
    const { queue, next } = createQueue()
    const a = next('a')
    queue.putBack(a)
    expect(queue.take('none')).toBe(a)
    queue.acknowledged(a)
    expect(next('b').builder.buffer).not.toBe(a.builder.buffer)
  })
})

describe('a batch that is sent again under another producer id', () => {
  it('leaves its former bytes alone: they may still be on their way', () => {
    const { queue, next } = createQueue()
    queue.identity = { id: 1, epoch: 0, nextSequence: 0, isKnown: true }
    const batch = next('a')
    const before = batch.bytes as Buffer
    const content = Buffer.from(before)
    queue.putBack(batch)
    queue.identity = { id: 2, epoch: 0, nextSequence: 0, isKnown: true }
    expect(queue.take('none')).toBe(batch)
    expect(before).toEqual(content)
    expect(readProducerId(batch.bytes as Buffer)).toBe(2)
  })
})

describe('buffers that are kept', () => {
  it('are few, and small together', () => {
    const buffers = new BatchBuffers()
    const many = Array.from({ length: 100 }, (): Buffer => Buffer.alloc(1000))
    for (const buffer of many) buffers.giveBack(buffer)
    expect(Array.from({ length: 100 }, () => buffers.take(1000)).filter((buffer) => many.includes(buffer))).toHaveLength(64)
    const large = Array.from({ length: 10 }, (): Buffer => Buffer.alloc(1024 * 1024))
    for (const buffer of large) buffers.giveBack(buffer)
    expect(Array.from({ length: 10 }, () => buffers.take(1024 * 1024)).filter((buffer) => large.includes(buffer))).toHaveLength(4)
  })

  it('are let go of when batches have another size by now', () => {
    const buffers = new BatchBuffers()
    for (const bytes of [1000, 100_000]) buffers.giveBack(Buffer.alloc(bytes))
    expect(buffers.take(10_000)).toHaveLength(10_000)
    expect(buffers.take(10_000)).toHaveLength(10_000)
  })
})
