import { describe, expect, it } from 'vitest'
import type { MetadataImage } from '../../controller/metadata/image.ts'
import { CLUSTER_PARTITIONS_MAX, createTopics, deleteTopics, growTopics, PARTITIONS_MAX } from '../../controller/metadata/topics.ts'
import type { CreateTopic } from '../../protocol/gen/tidemark/v1/cluster.ts'
import { applyRecords, clusterOf, commit, createContext, createRequest, idOf, nodeOf } from './fixtures.ts'

function create(
  image: MetadataImage,
  topics: readonly Partial<CreateTopic>[],
  validateOnly = false,
  defaults = { partitions: 1, replicas: 1 },
) {
  const whole = topics.map((topic) => ({ name: 'orders', partitions: 0, replicas: 0, configs: {}, ...topic }))
  const decision = createTopics(image, { topics: whole, validateOnly }, createContext(defaults, 10_000 * (image.version + 1)))
  return { image: commit(image, decision), records: decision.records, results: decision.response.topics }
}

function codes(results: readonly { readonly error: { readonly code: string } | undefined }[]): (string | undefined)[] {
  return results.map(({ error }) => error?.code)
}

describe('createTopics', () => {
  it('creates topics as asked for, and with the defaults where nothing is asked', () => {
    const { image, results } = create(
      clusterOf(3),
      [{ name: 'a', partitions: 4, replicas: 2, configs: { 'retention.ms': '1h' } }, { name: 'b' }],
      false,
      { partitions: 6, replicas: 3 },
    )
    expect(results).toMatchObject([
      { name: 'a', error: undefined, partitions: 4, replicas: 2 },
      { name: 'b', error: undefined, partitions: 6, replicas: 3 },
    ])
    expect(results.map(({ topicId }) => topicId.length)).toEqual([16, 16])
    expect(image.topics.get('a')).toMatchObject({
      topicId: results[0]?.topicId.toString('base64url'),
      configs: { 'retention.ms': '1h' },
      internal: false,
    })
    expect(image.topics.get('b')?.partitions).toHaveLength(6)
    for (const { replicas, isr, leader, leaderEpoch, partitionEpoch } of image.topics.get('a')?.partitions ?? []) {
      expect({ isr, leader, leaderEpoch, partitionEpoch }).toEqual({
        isr: replicas,
        leader: replicas[0],
        leaderEpoch: 0,
        partitionEpoch: 0,
      })
    }
  })

  it('makes the topics tidemark keeps for itself internal, with settings of their own', () => {
    const { image, results } = create(clusterOf(3), [{ name: '__consumer_offsets', partitions: 12, replicas: 3 }])
    expect(codes(results)).toEqual([undefined])
    expect(image.topics.get('__consumer_offsets')).toMatchObject({
      internal: true,
      config: { cleanupPolicy: 'compact', durability: 'fsync', minInsyncReplicas: 2, retentionMs: Number.POSITIVE_INFINITY },
    })
    const refused = create(clusterOf(3), [{ name: '__consumer_offsets', configs: { durability: 'none' } }])
    expect(codes(refused.results)).toEqual(['INVALID_CONFIG'])
    expect(
      codes(growTopics(image, { topics: [{ name: '__consumer_offsets', partitions: 24 }], validateOnly: false }).response.topics),
    ).toEqual(['INVALID_REQUEST'])
  })

  it('spreads the leaders of many small topics', () => {
    const { image } = create(
      clusterOf(3),
      Array.from({ length: 9 }, (_, index) => ({ name: `topic-${index}` })),
    )
    const leaders = [...image.topics.values()].map(({ partitions }) => partitions[0]?.leader)
    expect([1, 2, 3].map((nodeId) => leaders.filter((leader) => leader === nodeId).length)).toEqual([3, 3, 3])
  })

  it('places replicas on brokers only', () => {
    const cluster = applyRecords(clusterOf(1), { record: { $case: 'registerNode', value: nodeOf(2, { roles: ['controller'] }) } }).image
    const { image, results } = create(cluster, [
      { name: 'a', partitions: 4 },
      { name: 'b', replicas: 2 },
    ])
    expect(image.topics.get('a')?.partitions.map(({ replicas }) => replicas)).toEqual([[1], [1], [1], [1]])
    expect(codes(results)).toEqual([undefined, 'INVALID_REPLICATION_FACTOR'])
  })

  it('refuses what is wrong entry by entry and creates the rest', () => {
    const { image } = create(clusterOf(2), [{ name: 'present' }, { name: 'my.topic' }])
    const { results, image: after } = create(image, [
      { name: 'fine' },
      { name: 'present' },
      { name: 'no/slash' },
      { name: 'my_topic' },
      { name: 'twice' },
      { name: 'twice' },
      { name: 'new_one' },
      { name: 'new.one' },
      { name: 'wide', partitions: PARTITIONS_MAX + 1 },
      { name: 'copied', replicas: 3 },
      { name: 'odd', configs: { 'retention.msec': '1' } },
      { name: 'wrong', configs: { 'retention.ms': 'soon' } },
      { name: 'strict', replicas: 1, configs: { 'min.insync.replicas': '2' } },
      { name: 'wordy', configs: { 'retention.ms': `${'0'.repeat(300)}1h` } },
    ])
    expect(codes(results)).toEqual([
      undefined,
      'TOPIC_ALREADY_EXISTS',
      'INVALID_TOPIC_NAME',
      'INVALID_TOPIC_NAME',
      'INVALID_REQUEST',
      'INVALID_REQUEST',
      undefined,
      'INVALID_TOPIC_NAME',
      'INVALID_PARTITIONS',
      'INVALID_REPLICATION_FACTOR',
      'INVALID_CONFIG',
      'INVALID_CONFIG',
      'INVALID_CONFIG',
      'INVALID_CONFIG',
    ])
    expect(new Set(after.topics.keys())).toEqual(new Set(['present', 'my.topic', 'fine', 'new_one']))
  })

  it('names the values in its refusals', () => {
    const { image } = create(clusterOf(1), [{ name: 'my.topic' }])
    const { results } = create(image, [
      { name: 'my_topic' },
      { name: 'b', partitions: 20_000 },
      { name: 'c', replicas: 3 },
      { name: 'd', configs: { 'min.insync.replicas': '2' } },
      { name: 'e', configs: { 'retention.mss': '1' } },
    ])
    expect(results.map(({ error }) => error?.message)).toEqual([
      'topic name my_topic differs from my.topic only in dots and underscores',
      '20000 partitions were asked for, a topic may have 10000',
      '3 replicas need as many nodes, 1 are alive and may get some',
      'min.insync.replicas is 2, the topic has 1 replicas',
      'unknown topic setting "retention.mss"; did you mean retention.ms?',
    ])
  })

  it('accepts the largest topic and refuses what goes beyond the cluster', () => {
    const wide = Array.from({ length: 11 }, (_, index) => ({ name: `wide-${index}`, partitions: PARTITIONS_MAX }))
    const { results, image } = create(clusterOf(1), wide)
    expect(codes(results)).toEqual([...Array(10).fill(undefined), 'INVALID_PARTITIONS'])
    expect(results[10]?.error?.message).toContain(`${CLUSTER_PARTITIONS_MAX + PARTITIONS_MAX}`)
    expect(codes(create(image, [{ name: 'one' }]).results)).toEqual(['INVALID_PARTITIONS'])
  })

  it('checks everything and makes nothing when told to validate only', () => {
    const { records, results } = create(clusterOf(1), [{ name: 'fine', partitions: 3 }, { name: '..' }], true)
    expect(records).toEqual([])
    expect(results).toMatchObject([{ error: undefined, partitions: 3, replicas: 1 }, { error: { code: 'INVALID_TOPIC_NAME' } }])
  })

  it('refuses everything while no node is registered', () => {
    expect(codes(create(clusterOf(0), [{}]).results)).toEqual(['INVALID_REPLICATION_FACTOR'])
  })
})

describe('deleteTopics', () => {
  const image = applyRecords(create(clusterOf(1), [{ name: 'a' }, { name: 'b' }]).image, {
    record: { $case: 'topic', value: { name: '__internal', topicId: idOf(99), internal: true } },
  }).image

  it('deletes what exists and says what does not', () => {
    const decision = deleteTopics(image, { names: ['a', 'unknown', '__internal', 'b', 'b'] })
    expect(codes(decision.response.topics)).toEqual([undefined, 'UNKNOWN_TOPIC', 'INVALID_REQUEST', 'INVALID_REQUEST', 'INVALID_REQUEST'])
    expect(new Set(commit(image, decision).topics.keys())).toEqual(new Set(['b', '__internal']))
  })

  it('makes room for a topic of the same name with another id', () => {
    const gone = commit(image, deleteTopics(image, { names: ['a'] }))
    const context = { ...createContext(), newTopicId: () => idOf(77) }
    const again = commit(gone, createTopics(gone, createRequest('a'), context))
    expect(again.topics.get('a')?.topicId).toBe(idOf(77))
    expect(again.topicNamesById.has(image.topics.get('a')?.topicId as string)).toBe(false)
  })
})

describe('growTopics', () => {
  const image = create(clusterOf(3), [{ name: 'a', partitions: 3, replicas: 2 }, { name: 'b' }]).image
  const grow = (topics: readonly { name: string; partitions: number }[], validateOnly = false) =>
    growTopics(image, { topics: [...topics], validateOnly })

  it('adds partitions with the replicas of the topic, and leaves those there are', () => {
    const decision = grow([{ name: 'a', partitions: 5 }])
    const partitions = commit(image, decision).topics.get('a')?.partitions ?? []
    expect(partitions.slice(0, 3)).toEqual(image.topics.get('a')?.partitions)
    expect(partitions.map(({ replicas }) => replicas.length)).toEqual([2, 2, 2, 2, 2])
  })

  it('refuses to shrink or stay, naming both numbers', () => {
    const { response, records } = grow([
      { name: 'a', partitions: 3 },
      { name: 'b', partitions: 0 },
    ])
    expect(response.topics.map(({ error }) => error?.message)).toEqual([
      'topic a has 3 partitions and can only grow, 3 were asked for',
      'topic b has 1 partitions and can only grow, 0 were asked for',
    ])
    expect(records).toEqual([])
  })

  it('refuses unknown topics, repeated ones and too many partitions, and grows the rest', () => {
    const { response, records } = grow([
      { name: 'x', partitions: 3 },
      { name: 'a', partitions: 10_001 },
      { name: 'b', partitions: 2 },
    ])
    expect(codes(response.topics)).toEqual(['UNKNOWN_TOPIC', 'INVALID_PARTITIONS', undefined])
    expect(records).toHaveLength(1)
    const repeated = grow([
      { name: 'a', partitions: 4 },
      { name: 'a', partitions: 5 },
    ])
    expect(codes(repeated.response.topics)).toEqual(['INVALID_REQUEST', 'INVALID_REQUEST'])
  })

  it('counts what the entries before it add against the limit of the cluster', () => {
    const full = create(
      clusterOf(1),
      Array.from({ length: 11 }, (_, index) => ({ name: `t${index}`, partitions: index < 9 ? PARTITIONS_MAX : 1 })),
    ).image
    const { response } = growTopics(full, {
      topics: [
        { name: 't9', partitions: 9_000 },
        { name: 't10', partitions: 2_000 },
      ],
      validateOnly: false,
    })
    expect(codes(response.topics)).toEqual([undefined, 'INVALID_PARTITIONS'])
  })

  it('changes nothing when told to validate only', () => {
    expect(grow([{ name: 'a', partitions: 9 }], true)).toEqual({ records: [], response: { topics: [{ name: 'a', error: undefined }] } })
  })
})
