import { expect, it } from 'vitest'
import { BatchBuffers } from '../../client/producer/batch-buffers.ts'
import { PartitionQueue } from '../../client/producer/partition-queue.ts'

const record = { key: null, value: Buffer.alloc(10), headers: [], timestampMs: 0, partition: undefined, sizeBytes: 50 }

/** A queue that has always something to send. */
function createQueue(): { queue: PartitionQueue; fill: () => number } {
  const queue = new PartitionQueue('t', 0, 16, new BatchBuffers())
  const fill = (): number => {
    for (;;) {
      queue.append(record, undefined, 0, 1000, 0)
      queue.closeOpen()
      if (!queue.isSendable(0, 0)) return queue.inFlight.length
      queue.take('none')
    }
  }
  return { queue, fill }
}

it('half as many batches are in flight after each failure, at least one, and with acknowledgements more again', () => {
  const { queue, fill } = createQueue()
  expect(fill()).toBe(16)
  for (const expected of [8, 4, 2, 1, 1]) {
    for (const batch of [...queue.inFlight].reverse()) queue.putBack(batch)
    queue.recovered()
    expect(fill()).toBe(expected)
  }
  let acknowledgedCount = 0
  while (fill() < 16) {
    queue.acknowledged(queue.inFlight[0] as (typeof queue.inFlight)[number])
    acknowledgedCount++
  }
  expect(acknowledgedCount).toBe(8 * 15)
})
