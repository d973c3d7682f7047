import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Controller } from '../../controller/controller.ts'
import { MemoryStore } from './memory-store.ts'
import { applyBatch } from '../../controller/metadata/apply.ts'
import { EMPTY_IMAGE, type MetadataDelta, type MetadataImage, type TopicMetadata } from '../../controller/metadata/image.ts'
import { MetadataBatch } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { invariant } from '../../runtime/invariant.ts'
import { openController, partsOf, requestOf, runOf } from './fixtures.ts'

type Step = (controller: Controller) => Promise<unknown>

const name = fc.constantFrom('a', 'b', 'c', 'd.e', 'd_e', 'bad/name')
const configs = fc.dictionary(
  fc.constantFrom('retention.ms', 'segment.ms', 'min.insync.replicas', 'unknown'),
  fc.constantFrom('1', '2', '1h', '2d', 'nonsense'),
)
const topic = fc.record({ name, partitions: fc.nat(5), replicas: fc.nat(4), configs })

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(fc.array(topic, { maxLength: 3 }), fc.boolean()).map(
    ([topics, validateOnly]): Step =>
      (controller) =>
        controller.createTopics({ topics, validateOnly }),
  ),
  fc.array(name, { maxLength: 2 }).map(
    (names): Step =>
      (controller) =>
        controller.deleteTopics({ names }),
  ),
  fc.record({ name, partitions: fc.nat(9) }).map(
    (grow): Step =>
      (controller) =>
        controller.growTopics({ topics: [grow], validateOnly: false }),
  ),
  fc.record({ name, set: configs, reset: fc.array(fc.constantFrom('retention.ms', 'partitioner'), { maxLength: 1 }) }).map(
    ({ set, reset, ...resource }): Step =>
      (controller) =>
        controller.alterConfigs({ resources: [{ resource: { scope: 0, ...resource }, set, reset }], validateOnly: false }),
  ),
  fc.tuple(fc.integer({ min: 1, max: 3 }), fc.constantFrom('', 'rack1')).map(
    ([nodeId, rack]): Step =>
      (controller) =>
        controller.registerNode(requestOf(nodeId, { rack })),
  ),
  fc.constant<Step>((controller) => controller.allocateProducerIds(runOf(controller.image))),
)

/** Keeps topics by the deltas alone, as a broker does. */
class Shadow {
  readonly topics = new Map<string, TopicMetadata>()

  apply(delta: MetadataDelta): void {
    for (const { name: removed } of delta.removedTopics) this.topics.delete(removed)
    const unknown = delta.changedTopics.filter((changed) => !this.topics.has(changed.name))
    invariant(isDeepStrictEqual(unknown, delta.createdTopics), 'exactly the topics that were not there are created')
    for (const changed of delta.changedTopics) this.topics.set(changed.name, changed)
  }
}

async function run(steps: readonly Step[]): Promise<{ store: MemoryStore; image: MetadataImage }> {
  const store = new MemoryStore()
  const controller = await openController({ store, ...partsOf() })
  const shadow = new Shadow()
  // What is thrown here fails the log, and with it the test.
  controller.view.subscribe((image, delta) => {
    shadow.apply(delta)
    invariant(isDeepStrictEqual(shadow.topics, new Map(image.topics)), 'the deltas add up to the image')
    const partitionCount = [...image.topics.values()].reduce((sum, { partitions }) => sum + partitions.length, 0)
    invariant(partitionCount === image.partitionCount, 'the partitions are counted right')
    const names = new Map([...image.topics.values()].map((present) => [present.topicId, present.name]))
    invariant(isDeepStrictEqual(names, new Map(image.topicNamesById)), 'topics are found by id as by name')
  })
  const failures: Error[] = []
  void controller.failed.then((error) => failures.push(error))
  // Started together: their order is the order of the calls. Those that are refused as a whole change nothing.
  await Promise.allSettled(steps.map((act) => act(controller)))
  await controller.close()
  if (failures[0] !== undefined) throw failures[0]
  return { store, image: controller.image }
}

describe('the metadata of a cluster', () => {
  it('is the same live, replayed at once and replayed batch by batch, and deltas miss nothing', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        const { store, image } = await run(steps)
        const reopened = await openController({ store, ...partsOf() })
        expect(reopened.image).toEqual(image)
        expect([...reopened.image.topics.keys()]).toEqual([...image.topics.keys()])
        await reopened.close()
        const batches = (await store.load()).map((entry) => MetadataBatch.decode(entry))
        const replayed = batches.reduce((present, batch, offset) => applyBatch(present, offset, batch).image, EMPTY_IMAGE)
        expect(replayed).toEqual(image)
      }),
    )
  })

  it('depends on nothing but the requests and the randomness handed in', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const [one, two] = [await run(steps), await run(steps)]
        expect(await two.store.load()).toEqual(await one.store.load())
      }),
      { numRuns: 50 },
    )
  })
})
