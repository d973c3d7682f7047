import { expect, it } from 'vitest'
import { ProducerIds } from '../../broker/producer-ids.ts'
import type { ActiveController } from '../../controller/active-controller.ts'

/** A node whose controller gives out these blocks, one after the other. */
function idsFrom(...blocks: readonly (readonly [number, number])[]): ProducerIds {
  const left = [...blocks]
  const ask = (): Promise<unknown> => {
    const [firstProducerId, nextProducerId] = left.shift() ?? [0, 0]
    return Promise.resolve({ error: undefined, firstProducerId, nextProducerId })
  }
  return new ProducerIds({ ask } as unknown as ActiveController, () => ({ clusterId: 'c', nodeId: 1, nodeEpoch: 1 }))
}

it('hands out each id of a block once, then those of the next', async () => {
  const ids = idsFrom([5, 7], [100, 101])
  expect([await ids.take(), await ids.take(), await ids.take()]).toEqual([5, 6, 100])
})

it('gives up over a block without ids, and goes on with the next', async () => {
  const ids = idsFrom([7, 7], [9, 8], [3, 4])
  for (let n = 0; n < 2; n++) await expect(ids.take()).rejects.toMatchObject({ code: 'UNAVAILABLE', retriable: true })
  expect(await ids.take()).toBe(3)
})
