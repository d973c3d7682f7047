/** Tables of how epochs and the ELR follow a change, after the cases of Kafka's PartitionChangeBuilderTest. */
import { describe, expect, it } from 'vitest'
import type { PartitionMetadata, TopicMetadata } from '../../controller/metadata/image.ts'
import { changePartition, type WantedChange } from '../../controller/metadata/partition-change.ts'
import { parseTopicConfig } from '../../protocol/topic-config.ts'
import { idOf } from './fixtures.ts'

const BEFORE: PartitionMetadata = {
  replicas: [1, 2, 3],
  isr: [1, 2, 3],
  leader: 1,
  leaderEpoch: 100,
  partitionEpoch: 200,
  elr: [],
  addingReplicas: [],
  removingReplicas: [],
  lastKnownLeader: -1,
}

interface Nodes {
  readonly fenced?: readonly number[]
  readonly retiring?: readonly number[]
}

/** The partition after the change; as it was when there is nothing to record. */
function change(wanted: WantedChange, before: Partial<PartitionMetadata> = {}, minIsr = 2, { fenced = [], retiring = [] }: Nodes = {}) {
  const configs = { 'min.insync.replicas': String(minIsr) }
  const state = { ...BEFORE, ...before }
  const topic: TopicMetadata = {
    name: 'orders',
    topicId: idOf(1),
    internal: false,
    configs,
    config: parseTopicConfig(configs),
    partitions: [state],
  }
  const record = changePartition(topic, 0, wanted, {
    isAlive: (id) => !fenced.includes(id),
    mayLead: (id) => !fenced.includes(id) && !retiring.includes(id),
  })
  return record?.record?.$case === 'partition' ? record.record.value : { ...state, topicId: topic.topicId, partition: 0 }
}

describe('epochs', () => {
  const cases: readonly (readonly [string, WantedChange, Partial<PartitionMetadata>, Nodes, leader: number, partition: number])[] = [
    ['nothing changes', {}, {}, {}, 0, 0],
    ['the ISR shrinks', { isr: [1, 2] }, {}, {}, 0, 1],
    ['the ISR grows', { isr: [1, 2, 3] }, { isr: [1, 2] }, {}, 0, 1],
    ['another leads', { isr: [2, 3] }, {}, { fenced: [1] }, 1, 1],
    ['nobody leads any more', { isr: [] }, { isr: [1] }, { fenced: [1, 2, 3] }, 1, 1],
    ['still nobody leads', {}, { isr: [], elr: [1], leader: -1 }, { fenced: [1, 2, 3] }, 0, 0],
    ['the preferred one leads again', { election: 'preferred' }, { leader: 2 }, {}, 1, 1],
    ['the preferred one leads already', { election: 'preferred' }, {}, {}, 0, 0],
    ['replicas are added', { replicas: [1, 2, 3, 4], addingReplicas: [4] }, {}, {}, 0, 1],
    ['replicas only change places', { replicas: [3, 2, 1] }, {}, {}, 0, 1],
    ['a replica goes', { replicas: [1, 2, 3], removingReplicas: [3] }, {}, {}, 1, 1],
    ['a move ends', { isr: [1, 2, 3, 4] }, { replicas: [1, 2, 4, 3], addingReplicas: [4], removingReplicas: [3] }, {}, 1, 1],
    ['replicas were only added, and came', { isr: [1, 2, 3, 4] }, { replicas: [1, 2, 3, 4], addingReplicas: [4] }, {}, 0, 1],
  ]
  it.each(cases)('when %s', (_what, wanted, before, nodes, leader, partition) => {
    const { leaderEpoch, partitionEpoch } = change(wanted, before, 2, nodes)
    expect({ leaderEpoch, partitionEpoch }).toEqual({ leaderEpoch: 100 + leader, partitionEpoch: 200 + partition })
  })
})

describe('eligible replicas', () => {
  const cases: readonly (readonly [string, WantedChange, Partial<PartitionMetadata>, number, Nodes, isr: number[], elr: number[]])[] = [
    ['ISR shrinks to the minimum', { isr: [1, 2] }, {}, 2, {}, [1, 2], []],
    ['ISR shrinks below the minimum', { isr: [1] }, { isr: [1, 2] }, 2, {}, [1], [2]],
    ['ISR shrinks in one step from above the minimum to below', { isr: [1] }, {}, 3, {}, [1], [2, 3]],
    ['ISR shrinks further', { isr: [1] }, { isr: [1, 2], elr: [3] }, 3, {}, [1], [2, 3]],
    ['ISR grows below the minimum, by one that was eligible', { isr: [1, 2] }, { isr: [1], elr: [2, 3] }, 3, {}, [1, 2], [3]],
    ['ISR grows to the minimum, by one that was not', { isr: [1, 3] }, { isr: [1], elr: [2] }, 2, {}, [1, 3], []],
    ['an eligible one is distrusted', { distrusted: [2] }, { isr: [1], elr: [2, 3] }, 3, {}, [1], [3]],
    ['one in sync is distrusted', { distrusted: [3] }, {}, 3, {}, [1, 2], []],
    ['an eligible one is elected', {}, { isr: [], elr: [2, 3], leader: -1 }, 2, { fenced: [1, 3] }, [2], [3]],
    ['an eligible one is elected where it is enough', {}, { isr: [], elr: [2, 3], leader: -1 }, 1, {}, [2], []],
    ['an unclean leader is elected', { election: 'unclean' }, { isr: [], elr: [2], leader: -1 }, 2, { fenced: [1, 2] }, [3], []],
    [
      'an eligible one is alive: no election is unclean',
      { election: 'unclean' },
      { isr: [], elr: [2], leader: -1 },
      2,
      { fenced: [1] },
      [2],
      [],
    ],
    ['the minimum changes to what is in sync', { minIsrChanged: true }, { isr: [1, 2], elr: [3] }, 2, {}, [1, 2], []],
    ['the minimum changes to more than is in sync', { minIsrChanged: true }, { isr: [1], elr: [2] }, 2, {}, [1], [2]],
    [
      'the minimum changes and nobody is in sync',
      { minIsrChanged: true },
      { isr: [], elr: [2], leader: -1 },
      2,
      { fenced: [1, 2, 3] },
      [],
      [2],
    ],
    ['a replica in sync retires', {}, {}, 3, { retiring: [2] }, [1, 3], [2]],
    ['all in sync retire', {}, { isr: [1, 2] }, 2, { retiring: [1, 2] }, [1, 2], []],
  ]
  it.each(cases)('when %s', (_what, wanted, before, minIsr, nodes, isr, elr) => {
    const after = change(wanted, before, minIsr, nodes)
    expect({ isr: after.isr, elr: after.elr }).toEqual({ isr, elr })
  })
})

describe('the last known leader', () => {
  it('is known while nobody leads, and is who leads uncleanly if it can', () => {
    const gone = change({ isr: [] }, { isr: [2], leader: 2 }, 1, { fenced: [1, 2, 3] })
    expect(gone).toMatchObject({ leader: -1, lastKnownLeader: 2 })
    const lost = { isr: [], elr: [], leader: -1, lastKnownLeader: 2 }
    expect(change({ election: 'unclean' }, lost)).toMatchObject({ leader: 2, isr: [2], lastKnownLeader: -1 })
    expect(change({ election: 'unclean' }, lost, 2, { fenced: [2] })).toMatchObject({ leader: 1, isr: [1] })
  })

  it('stays while everyone comes and goes', () => {
    expect(change({}, { isr: [], elr: [3], leader: -1, lastKnownLeader: 2 }, 2, { fenced: [2, 3] })).toMatchObject({ lastKnownLeader: 2 })
  })
})

describe('a move', () => {
  it('does not end while nobody in sync could lead then: who leads goes on', () => {
    const before = { replicas: [2, 1, 3], isr: [3, 2], leader: 3, removingReplicas: [3] }
    const retiring = change({ isr: [2, 3] }, before, 1, { retiring: [2, 3] })
    expect(retiring).toMatchObject({ leader: 3, leaderEpoch: 100, isr: [2, 3], removingReplicas: [3] })
    expect(change({}, before, 1)).toMatchObject({ leader: 2, leaderEpoch: 101, isr: [2], replicas: [2, 1], removingReplicas: [] })
  })
})
