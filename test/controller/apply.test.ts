import { describe, expect, it } from 'vitest'
import { applyBatch, applyBatches } from '../../controller/metadata/apply.ts'
import { EMPTY_IMAGE } from '../../controller/metadata/image.ts'
import type { MetadataRecord, PartitionRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { MetadataBatch } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { applyRecords, clusterOf, idOf, nodeOf } from './fixtures.ts'

const ORDERS = idOf(7)

function topic(name = 'orders', topicId = ORDERS): MetadataRecord {
  return { record: { $case: 'topic', value: { name, topicId, internal: false } } }
}

function partition(number: number, changes: Partial<PartitionRecord> = {}): MetadataRecord {
  const value = {
    topicId: ORDERS,
    partition: number,
    replicas: [1, 2],
    isr: [1, 2],
    leader: 1,
    leaderEpoch: 0,
    partitionEpoch: 0,
    elr: [],
    addingReplicas: [],
    removingReplicas: [],
    lastKnownLeader: -1,
    ...changes,
  }
  return { record: { $case: 'partition', value } }
}

function setting(key: string, value: string | undefined): MetadataRecord {
  return { record: { $case: 'topicConfig', value: { topicId: ORDERS, key, value } } }
}

function removal(topicId = ORDERS): MetadataRecord {
  return { record: { $case: 'removeTopic', value: { topicId } } }
}

function producerIds(firstProducerId: number, nextProducerId: number): MetadataRecord {
  return { record: { $case: 'producerIdBlock', value: { nodeId: 1, firstProducerId, nextProducerId } } }
}

const CLUSTER = clusterOf(2)

describe('applyBatch', () => {
  it('creates a topic with its partitions and settings and says so', () => {
    const { image, delta } = applyRecords(
      CLUSTER,
      topic(),
      setting('retention.ms', '1h'),
      partition(0),
      partition(1, { leader: 2, replicas: [2, 1] }),
    )
    const orders = image.topics.get('orders')
    expect(orders).toMatchObject({ topicId: ORDERS, configs: { 'retention.ms': '1h' }, config: { retentionMs: 3_600_000 } })
    expect(orders?.partitions.map(({ leader }) => leader)).toEqual([1, 2])
    expect(image.topicNamesById.get(ORDERS)).toBe('orders')
    expect(image.version).toBe(CLUSTER.version + 1)
    expect(delta).toEqual({
      changedTopics: [orders],
      createdTopics: [orders],
      removedTopics: [],
      changedPartitions: [
        { topic: orders, partition: 0 },
        { topic: orders, partition: 1 },
      ],
      changedNodes: [],
      removedNodes: [],
    })
  })

  it('leaves the old image as it was', () => {
    const before = applyRecords(CLUSTER, topic(), partition(0)).image
    const contents = () => structuredClone({ ...before, topics: [...before.topics], topicNamesById: [...before.topicNamesById] })
    const copy = contents()
    applyRecords(before, partition(0, { isr: [1], partitionEpoch: 1 }), setting('retention.ms', '1h'), producerIds(0, 1000))
    applyRecords(before, removal())
    expect(contents()).toEqual(copy)
  })

  it('shares what it does not touch', () => {
    const before = applyRecords(CLUSTER, topic(), partition(0), partition(1), topic('other', idOf(8))).image
    const { image, delta } = applyRecords(before, partition(1, { isr: [1], partitionEpoch: 1 }))
    expect(image.nodes).toBe(before.nodes)
    expect(image.topicNamesById).toBe(before.topicNamesById)
    expect(image.topics.get('other')).toBe(before.topics.get('other'))
    expect(image.topics.get('orders')?.partitions[0]).toBe(before.topics.get('orders')?.partitions[0])
    expect(image.topics.get('orders')?.config).toBe(before.topics.get('orders')?.config)
    expect(delta.createdTopics).toEqual([])
    expect(delta.changedPartitions.map(({ partition: number }) => number)).toEqual([1])
    expect(applyRecords(image, producerIds(0, 1000)).image.topics).toBe(image.topics)
  })

  it('sets settings and takes them back to their default', () => {
    const set = applyRecords(CLUSTER, topic(), partition(0), setting('retention.ms', '1h'), setting('segment.ms', '1d')).image
    const { topics } = applyRecords(set, setting('retention.ms', undefined)).image
    expect(topics.get('orders')?.configs).toEqual({ 'segment.ms': '1d' })
    expect(topics.get('orders')?.config.retentionMs).toBe(7 * 86_400_000)
  })

  it('removes a topic; one of the same name in the same batch is another', () => {
    const before = applyRecords(CLUSTER, topic(), partition(0)).image
    const { image, delta } = applyRecords(before, removal(), topic('orders', idOf(9)))
    expect(delta.removedTopics).toEqual([before.topics.get('orders')])
    expect(delta.createdTopics).toEqual([image.topics.get('orders')])
    expect(image.topics.get('orders')).toMatchObject({ topicId: idOf(9), partitions: [] })
    expect([...image.topicNamesById]).toEqual([[idOf(9), 'orders']])
  })

  it('says nothing of a topic that comes and goes in one batch', () => {
    const { image, delta } = applyRecords(CLUSTER, topic(), partition(0), removal())
    expect(delta).toEqual({
      changedTopics: [],
      createdTopics: [],
      removedTopics: [],
      changedPartitions: [],
      changedNodes: [],
      removedNodes: [],
    })
    expect(image).toEqual({ ...CLUSTER, version: CLUSTER.version + 1 })
  })

  it('takes the newest registration of a node', () => {
    const { image, delta } = applyRecords(CLUSTER, {
      record: { $case: 'registerNode', value: nodeOf(2, { host: 'moved', nodeEpoch: CLUSTER.version + 1 }) },
    })
    expect(image.nodes.get(2)?.host).toBe('moved')
    expect(delta.changedNodes).toEqual([image.nodes.get(2)])
  })

  it('applies a history at once as it would one by one', () => {
    const batches = [[topic(), partition(0)], [topic('other', idOf(8))], [removal()], [topic('orders', idOf(9)), producerIds(0, 1000)]].map(
      (records) => ({ records }),
    )
    let image = CLUSTER
    for (const batch of batches) image = applyBatch(image, image.version, batch).image
    const atOnce = applyBatches(CLUSTER, CLUSTER.version, batches).image
    expect(atOnce).toEqual(image)
    expect([...atOnce.topics.keys()]).toEqual([...image.topics.keys()])
  })

  it('refuses a batch that is not the next one', () => {
    for (const offset of [CLUSTER.version - 1, CLUSTER.version + 1]) {
      expect(() => applyBatch(CLUSTER, offset, { records: [] })).toThrow('metadata is applied in order')
    }
  })

  it('refuses a record of a kind that only a newer version knows', () => {
    // Field 100, length-delimited: a member of the oneof that is not there yet.
    const record = Buffer.from([0xa2, 0x06, 0x01, 0x00])
    const batch = MetadataBatch.decode(Buffer.concat([Buffer.from([0x0a, record.length]), record]))
    expect(batch.records).toHaveLength(1)
    expect(() => applyBatch(CLUSTER, CLUSTER.version, batch)).toThrow('a newer version wrote this one')
  })

  it('refuses a setting that only a newer version knows', () => {
    expect(() => applyRecords(CLUSTER, topic(), setting('from.the.future', '1'))).toThrow('from.the.future')
  })

  const WITH_TOPIC = applyRecords(CLUSTER, topic(), partition(0, { leaderEpoch: 3, partitionEpoch: 5 })).image
  const contradictions: readonly (readonly [string, MetadataRecord, string])[] = [
    [
      'names the cluster again',
      { record: { $case: 'cluster', value: { clusterId: idOf(2), featureLevel: 1 } } },
      'a cluster is named once',
    ],
    ['creates a topic that exists', topic('orders', idOf(9)), 'topic orders is created once'],
    ['gives a topic id twice', topic('other'), 'is given once'],
    ['has a partition of an unknown topic', partition(0, { topicId: idOf(9) }), 'records name topics that exist'],
    ['removes an unknown topic', removal(idOf(9)), 'records name topics that exist'],
    [
      'has a setting of an unknown topic',
      { record: { $case: 'topicConfig', value: { topicId: idOf(9), key: 'retention.ms', value: '1h' } } },
      'records name topics that exist',
    ],
    ['leaves out a partition', partition(2), 'partitions are made in order'],
    ['has a negative partition', partition(-1), 'partitions are made in order'],
    ['has no replicas', partition(1, { replicas: [], isr: [], leader: -1 }), 'has a replica'],
    ['has a replica twice', partition(1, { replicas: [1, 1] }), 'has each replica once'],
    ['has a replica in the ISR twice', partition(1, { isr: [1, 1] }), 'in the ISR once'],
    ['has a replica on an unknown node', partition(1, { replicas: [1, 3] }), 'node 3 is none'],
    ['has an ISR that is no replica', partition(1, { replicas: [1], isr: [2] }), 'the ISR are replicas'],
    ['has a leader that is no replica', partition(1, { replicas: [2], isr: [2], leader: 1 }), 'the leader is a replica'],
    ['takes a leader epoch back', partition(0, { leaderEpoch: 2, partitionEpoch: 6 }), 'leader epochs do not go back'],
    ['repeats a partition epoch', partition(0, { leaderEpoch: 4, partitionEpoch: 5 }), 'a partition epoch of its own'],
    ['leaves a gap in the producer ids', producerIds(1, 1001), 'producer ids follow on each other'],
    ['gives out no producer ids', producerIds(0, 0), 'is not empty'],
  ]
  it.each(contradictions)('refuses a record that %s', (_what, record, message) => {
    expect(() => applyRecords(WITH_TOPIC, record)).toThrow(message)
  })

  it('lets a partition have no leader', () => {
    const { image } = applyRecords(WITH_TOPIC, partition(0, { leader: -1, leaderEpoch: 4, partitionEpoch: 6 }))
    expect(image.topics.get('orders')?.partitions[0]?.leader).toBe(-1)
  })

  it('starts from an image without a name', () => {
    expect(EMPTY_IMAGE).toMatchObject({ version: 0, clusterId: '', nextProducerId: 0 })
    expect(CLUSTER.clusterId).toBe(idOf(1))
  })
})
