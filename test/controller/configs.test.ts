import { describe, expect, it } from 'vitest'
import { alterConfigs } from '../../controller/metadata/configs.ts'
import { alterPartitions } from '../../controller/metadata/alter-partitions.ts'
import type { MetadataImage, PartitionMetadata } from '../../controller/metadata/image.ts'
import { createTopics } from '../../controller/metadata/topics.ts'
import { type AlterConfig, ConfigScope } from '../../protocol/gen/tidemark/v1/cluster.ts'
import { applyRecords, clusterOf, commit, createContext, idOf } from './fixtures.ts'

const IMAGE: MetadataImage = (() => {
  const cluster = clusterOf(2)
  const topics = [
    { name: 'a', partitions: 1, replicas: 2, configs: { 'retention.ms': '1h', 'segment.ms': '1d' } },
    { name: 'b', partitions: 1, replicas: 1, configs: {} },
  ]
  return commit(cluster, createTopics(cluster, { topics, validateOnly: false }, createContext()))
})()

function change(
  name: string,
  set: Record<string, string>,
  reset: string[] = [],
  scope: AlterConfig['resource'] = { scope: ConfigScope.TOPIC, name },
): AlterConfig {
  return { resource: scope, set, reset }
}

function alter(resources: AlterConfig[], image = IMAGE) {
  const decision = alterConfigs(image, { resources, validateOnly: false })
  return { image: commit(image, decision), records: decision.records, results: decision.response.resources }
}

describe('alterConfigs', () => {
  it('sets and resets settings, and leaves the others', () => {
    const { image, results } = alter([change('a', { 'retention.ms': '2h', 'max.message.bytes': '2MiB' }, ['segment.ms'])])
    expect(results).toEqual([{ resource: { scope: ConfigScope.TOPIC, name: 'a' }, error: undefined }])
    expect(image.topics.get('a')?.configs).toEqual({ 'retention.ms': '2h', 'max.message.bytes': '2MiB' })
    expect(image.topics.get('a')?.config.retentionMs).toBe(7_200_000)
  })

  it('has nothing to record for a reset of what was not set', () => {
    expect(alter([change('b', {}, ['retention.ms', 'retention.ms'])]).records).toEqual([])
  })

  it('refuses what is wrong, with the reason, and changes the rest', () => {
    const { image, results } = alter([
      change('unknown', { 'retention.ms': '1h' }),
      change('a', { partitioner: 'murmur2' }),
      change('b', { 'retention.ms': '3h' }),
      change('', { anything: '1' }, [], { scope: ConfigScope.NODE, name: '1' }),
      { resource: undefined, set: {}, reset: [] },
    ])
    expect(results.map(({ error }) => error?.code)).toEqual([
      'UNKNOWN_TOPIC',
      'INVALID_CONFIG',
      undefined,
      'INVALID_REQUEST',
      'INVALID_REQUEST',
    ])
    expect(results[1]?.error?.message).toBe('partitioner is fixed when a topic is created')
    expect(results[3]?.error?.message).toContain('configuration file')
    expect(image.topics.get('b')?.configs).toEqual({ 'retention.ms': '3h' })
    expect(image.topics.get('a')).toBe(IMAGE.topics.get('a'))
  })

  const refusals: readonly (readonly [string, Record<string, string>, string[], string])[] = [
    ['an unknown setting', { 'retention.millis': '1' }, [], 'INVALID_CONFIG'],
    ['a reset of an unknown setting', {}, ['retention.millis'], 'INVALID_CONFIG'],
    ['a reset of a fixed setting', {}, ['partitioner'], 'INVALID_CONFIG'],
    ['a value out of range', { 'segment.bytes': '1' }, [], 'INVALID_CONFIG'],
    ['a value longer than any that makes sense', { 'retention.ms': `${'0'.repeat(1000)}1` }, [], 'INVALID_CONFIG'],
    ['more replicas in sync than there are', { 'min.insync.replicas': '3' }, [], 'INVALID_CONFIG'],
    ['setting and resetting the same', { 'retention.ms': '1h' }, ['retention.ms'], 'INVALID_REQUEST'],
  ]
  it.each(refusals)('refuses %s, and then makes no change of that topic', (_what, set, reset, code) => {
    const { records, results } = alter([change('a', { 'index.interval.bytes': '8KiB', ...set }, reset)])
    expect(results[0]?.error?.code).toBe(code)
    expect(records).toEqual([])
  })

  it('refuses a topic that stands in the request more than once', () => {
    const { records, results } = alter([change('a', { 'retention.ms': '1h' }), change('a', {}, ['retention.ms'])])
    expect(results.map(({ error }) => error?.code)).toEqual(['INVALID_REQUEST', 'INVALID_REQUEST'])
    expect(records).toEqual([])
  })

  it('refuses an internal topic', () => {
    const { image } = applyRecords(IMAGE, { record: { $case: 'topic', value: { name: '__internal', topicId: idOf(99), internal: true } } })
    expect(alter([change('__internal', { 'retention.ms': '1h' })], image).results[0]?.error?.message).toContain('kept by tidemark itself')
  })

  it('changes nothing when told to validate only, but says what is wrong', () => {
    const resources = [change('a', { 'retention.ms': '5h' }), change('b', { 'min.insync.replicas': '2' })]
    const { records, response } = alterConfigs(IMAGE, { resources, validateOnly: true })
    expect(records).toEqual([])
    expect(response.resources.map(({ error }) => error?.code)).toEqual([undefined, 'INVALID_CONFIG'])
  })

  it('has leaders that know the former minimum refused: one would commit alone what a replica that is now eligible does not have', () => {
    const { image: before } = alter([change('a', { 'min.insync.replicas': '1' })])
    const { image } = alter([change('a', { 'min.insync.replicas': '2' })], before)
    const known = before.topics.get('a')?.partitions[0] as PartitionMetadata
    const { leader, leaderEpoch } = known
    const shrink = ({ partitionEpoch }: PartitionMetadata) => {
      const isr = [{ nodeId: leader, nodeEpoch: image.nodes.get(leader)?.nodeEpoch ?? 0 }]
      const partitions = [{ topicId: image.topics.get('a')?.topicId ?? '', partition: 0, leaderEpoch, partitionEpoch, isr }]
      const { nodeEpoch = 0 } = image.nodes.get(leader) ?? {}
      return alterPartitions(image, { clusterId: '', nodeId: leader, nodeEpoch, partitions })
    }
    expect(shrink(known).response.partitions[0]?.error?.code).toBe('INVALID_UPDATE_VERSION')
    const now = image.topics.get('a')?.partitions[0] as PartitionMetadata
    expect(now).toEqual({ ...known, partitionEpoch: known.partitionEpoch + 1 })
    const after = commit(image, shrink(now)).topics.get('a')?.partitions[0]
    expect(after).toMatchObject({ isr: [leader], elr: known.replicas.filter((id) => id !== leader) })
  })
})
