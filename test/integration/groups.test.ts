/** Consumer groups through a real node, by raw calls. */
import { afterEach, describe, expect, it } from 'vitest'
import type { FetchOffsetsResponse, FindCoordinatorsResponse, ListGroupsResponse } from '../../protocol/gen/tidemark/v1/groups.ts'
import { GroupState, HeartbeatIntent } from '../../protocol/gen/tidemark/v1/groups.ts'
import { startTidemark, type StartTidemarkOptions, type TestTidemark } from '../../testing/index.ts'
import { GroupCalls, settle, TestMember } from './group-support.ts'

const open: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

async function start(options: StartTidemarkOptions = {}): Promise<{ node: TestTidemark; calls: GroupCalls }> {
  const node = await startTidemark({
    ...options,
    config: { ...options.config, groups: { offsetsPartitions: 2, ...options.config?.groups } },
  })
  const calls = new GroupCalls(() => [{ host: node.host, port: node.port }])
  open.push(
    () => node.close(),
    () => calls.close(),
  )
  return { node, calls }
}

async function createTopics(node: TestTidemark, counts: Readonly<Record<string, number>>): Promise<void> {
  const tm = await node.connect()
  for (const [name, partitions] of Object.entries(counts)) await tm.admin.createTopic(name, { partitions })
}

async function send(node: TestTidemark, topic: string, partition: number, count: number): Promise<void> {
  const tm = await node.connect()
  const producer = tm.producer()
  for (let index = 0; index < count; index++) await producer.send(topic, { value: `${index}`, partition })
}

function fetched({ partitions }: FetchOffsetsResponse): Record<string, number | undefined> {
  return Object.fromEntries(partitions.map(({ topic, partition, offset }) => [`${topic}-${partition}`, offset]))
}

describe('the first member of the first group', () => {
  it('makes the internal topic, gets all partitions, commits and reads back', async () => {
    const { node, calls } = await start()
    await createTopics(node, { orders: 3 })
    const member = new TestMember(calls, 'a')
    await member.beat()
    expect(member.names).toEqual(['orders-0', 'orders-1', 'orders-2'])
    expect(await member.commit({ 'orders-1': 7 }, { leaderEpochPlusOne: 4, metadata: 'mark' })).toEqual({ 'orders-1': undefined })
    const offsets = await calls.ask<FetchOffsetsResponse>('fetchOffsets', { group: 'billing', partitions: [], memberId: '' })
    expect(offsets.partitions).toMatchObject([{ topic: 'orders', partition: 1, offset: 7, leaderEpochPlusOne: 4, metadata: 'mark' }])
    const wanted = [0, 1, 9].map((partition) => ({ topic: 'orders', topicId: Buffer.alloc(0), partition, assignedEpoch: 0 }))
    const some = await calls.ask<FetchOffsetsResponse>('fetchOffsets', { group: 'billing', partitions: wanted, memberId: '' })
    expect(some.partitions.map(({ offset, error }) => error?.code ?? offset)).toEqual([undefined, 7, 'UNKNOWN_PARTITION'])
    const topic = (await (await node.connect()).admin.listTopics()).find(({ name }) => name === '__consumer_offsets')
    expect(topic).toMatchObject({ internal: true })
  })

  it('does not need the topics it wants to exist, and is told which do not', async () => {
    const { node, calls } = await start()
    const member = new TestMember(calls, 'a', { topics: ['orders', 'payments'], topicPattern: 'audit-.*' })
    expect(await member.beat()).toMatchObject({ assignment: [], unknownTopics: ['orders', 'payments'] })
    const parked = member.beat({ maxWaitMs: 10_000 })
    await createTopics(node, { 'audit-1': 1 })
    await parked
    expect(member.names).toEqual(['audit-1-0'])
    const grown = member.beat({ maxWaitMs: 10_000 })
    await (await node.connect()).admin.growTopic('audit-1', 2)
    await grown
    expect(member.names).toEqual(['audit-1-0', 'audit-1-1'])
  })
})

describe('members of a group', () => {
  it('divide the partitions, and hand over what one lets go of while the other waits', async () => {
    const { node, calls } = await start()
    await createTopics(node, { orders: 4 })
    const [a, b] = [new TestMember(calls, 'a'), new TestMember(calls, 'b')]
    await a.beat()
    expect(await b.beat()).toMatchObject({ assignment: [], pendingPartitions: 2, idle: false })
    const waiting = b.beat({ maxWaitMs: 10_000 })
    // It learns what to let go of, and has: the next one says so.
    await a.beat()
    await a.beat()
    await waiting
    expect([a.names, b.names]).toEqual([
      ['orders-0', 'orders-1'],
      ['orders-2', 'orders-3'],
    ])
  })

  it('beyond the number of partitions are told that they wait in reserve', async () => {
    const { node, calls } = await start()
    await createTopics(node, { orders: 2 })
    const members = ['a', 'b', 'c'].map((memberId) => new TestMember(calls, memberId))
    await settle(...members)
    expect(members.map(({ names, answer }) => [names.length, answer?.idle])).toEqual([
      [1, false],
      [1, false],
      [0, true],
    ])
    const described = await calls.describe('billing')
    expect(described).toMatchObject({ state: GroupState.STABLE, assignor: 'uniform' })
    expect(described.members.map(({ memberId, idle }) => [memberId, idle])).toEqual([
      ['a', false],
      ['b', false],
      ['c', true],
    ])
    await members[0]?.leave()
    await members[2]?.beat()
    expect(members[2]?.names).toHaveLength(1)
  })

  it('lose their partitions when they are silent for a session, and are refused when they come back (K41)', async () => {
    const { node, calls } = await start({ config: { groups: { sessionTimeoutMinMs: 100 } } })
    await createTopics(node, { orders: 2 })
    const silent = new TestMember(calls, 'silent', { sessionTimeoutMs: 400 })
    const other = new TestMember(calls, 'other')
    await settle(silent, other)
    const taken = silent.names[0] as string
    while (other.names.length < 2) await other.beat({ maxWaitMs: 5000 })
    expect(await other.commit({ [taken]: 10 })).toEqual({ [taken]: undefined })
    await expect(silent.commit({ [taken]: 20 })).rejects.toMatchObject({ code: 'UNKNOWN_MEMBER_ID' })
    await expect(silent.beat()).rejects.toMatchObject({ code: 'UNKNOWN_MEMBER_ID' })
    expect(fetched(await calls.ask('fetchOffsets', { group: 'billing', partitions: [], memberId: '' }))).toEqual({ [taken]: 10 })
  })

  it('are removed when they do not let go in time', async () => {
    const { node, calls } = await start()
    await createTopics(node, { orders: 2 })
    const busy = new TestMember(calls, 'busy', { rebalanceTimeoutMs: 300 })
    await busy.beat()
    const owned = [...busy.held.values()].map(({ topicId, partition }) => ({ topicId, partitions: [partition] }))
    const waiting = new TestMember(calls, 'waiting')
    await waiting.beat()
    // It is alive, it is told, and it goes on with all it has.
    const holdOn = async (): Promise<never> => {
      for (;;) await busy.beat({ owned })
    }
    const [refused] = await Promise.allSettled([holdOn(), waiting.beat({ maxWaitMs: 10_000 })])
    expect(refused).toMatchObject({ reason: { code: 'UNKNOWN_MEMBER_ID' } })
    await waiting.beat()
    expect(waiting.names).toEqual(['orders-0', 'orders-1'])
  })

  it('find everything again when the node restarts', async () => {
    const { node, calls } = await start()
    await createTopics(node, { orders: 4 })
    const [a, b] = [new TestMember(calls, 'a', { instanceId: 'one' }), new TestMember(calls, 'b')]
    await settle(a, b)
    const had = [a.names, b.names]
    await a.commit({ [a.names[0] as string]: 5 })
    await node.restart()
    await settle(a, b)
    expect([a.names, b.names]).toEqual(had)
    expect(fetched(await calls.ask('fetchOffsets', { group: 'billing', partitions: [], memberId: '' }))).toEqual({
      [a.names[0] as string]: 5,
    })
    expect(await a.commit({ [a.names[0] as string]: 6 })).toEqual({ [a.names[0] as string]: undefined })
  })

  it('with an instance id keep their partitions over a restart', async () => {
    const { node, calls } = await start()
    await createTopics(node, { orders: 4 })
    const [first, other] = [new TestMember(calls, 'first', { instanceId: 'one' }), new TestMember(calls, 'other')]
    await settle(first, other)
    const had = first.names
    const second = new TestMember(calls, 'second', { instanceId: 'one' })
    await expect(calls.once({ host: node.host, port: node.port }, 'heartbeat', joinOf('second', 'one'))).rejects.toMatchObject({
      code: 'UNRELEASED_INSTANCE_ID',
      retryAfterMs: 1000,
    })
    const epoch = other.epoch
    await first.leave(HeartbeatIntent.LEAVE_FOR_A_WHILE)
    await second.beat()
    await other.beat()
    expect(second.names).toEqual(had)
    expect(other.epoch).toBe(epoch)
    await expect(first.commit({ [had[0] as string]: 3 })).rejects.toMatchObject({ code: 'FENCED_INSTANCE_ID' })
  })
})

function joinOf(memberId: string, instanceId: string) {
  return {
    group: 'billing',
    memberId,
    memberEpoch: 0,
    intent: HeartbeatIntent.STAY,
    instanceId,
    clientId: '',
    topics: ['orders'],
    topicPattern: '',
    assignor: '',
    sessionTimeoutMs: 0,
    rebalanceTimeoutMs: 0,
    owned: [],
    maxWaitMs: 0,
  }
}

describe('requests that make no sense', () => {
  it.each([
    [{ group: '' }, 'INVALID_GROUP_ID'],
    [{ group: 'x'.repeat(250) }, 'INVALID_GROUP_ID'],
    [{ memberId: '' }, 'INVALID_REQUEST'],
    [{ topics: [] }, 'INVALID_REQUEST'],
    [{ topicPattern: 'a(?=b)' }, 'INVALID_REGULAR_EXPRESSION'],
    [{ assignor: 'sticky' }, 'UNSUPPORTED_ASSIGNOR'],
    [{ sessionTimeoutMs: 1 }, 'INVALID_SESSION_TIMEOUT'],
    [{ rebalanceTimeoutMs: 4_000_000 }, 'INVALID_SESSION_TIMEOUT'],
    [{ memberEpoch: 5 }, 'UNKNOWN_MEMBER_ID'],
    [{ intent: 9 as HeartbeatIntent }, 'INVALID_REQUEST'],
    [{ owned: [{ topicId: Buffer.alloc(3), partitions: [1] }] }, 'INVALID_REQUEST'],
  ])('%j is refused with %s', async (more, code) => {
    const { node, calls } = await start()
    const address = { host: node.host, port: node.port }
    // The topic is made first.
    await calls.ask('findCoordinators', { groups: [] })
    await expect(calls.once(address, 'heartbeat', { ...joinOf('a', ''), ...more })).rejects.toMatchObject({ code })
  })
})

describe('a group without members', () => {
  it('commits, is listed and described, is reset and deleted', async () => {
    const { node, calls } = await start()
    await createTopics(node, { orders: 2 })
    await send(node, 'orders', 0, 10)
    const simple = new TestMember(calls, '', { group: 'simple' })
    expect(await simple.commit({ 'orders-0': 4 })).toEqual({ 'orders-0': undefined })
    const { groups } = await calls.ask<ListGroupsResponse>('listGroups', { states: [] })
    expect(groups).toEqual([
      { group: 'simple', state: GroupState.EMPTY, memberCount: 0, offsetCount: 1, idleMemberCount: 0, topics: ['orders'] },
    ])
    const [partition] = (await calls.describe('simple')).partitions
    expect(partition).toMatchObject({
      topic: 'orders',
      partition: 0,
      committedOffset: 4,
      logStartOffset: 0,
      highWatermark: 10,
      lagRecords: 6,
    })
    expect(await calls.ask('deleteGroups', { groups: ['simple', 'unknown'] })).toMatchObject({
      groups: [{ group: 'simple', error: undefined }, { error: { code: 'GROUP_ID_NOT_FOUND' } }],
    })
    expect((await calls.describe('simple')).error?.code).toBe('GROUP_ID_NOT_FOUND')
    expect(fetched(await calls.ask('fetchOffsets', { group: 'simple', partitions: [], memberId: '' }))).toEqual({})
  })
})

describe('coordinators', () => {
  it('are found by any node, which makes the internal topic when it is not there', async () => {
    const { node, calls } = await start()
    const found = await calls.ask<FindCoordinatorsResponse>('findCoordinators', { groups: ['billing', ''] })
    expect(found.coordinators).toMatchObject([
      { group: 'billing', error: undefined, nodeId: 1, host: node.host, port: node.port },
      { error: { code: 'INVALID_GROUP_ID' } },
    ])
    expect([0, 1]).toContain(found.coordinators[0]?.partition)
  })
})

describe('the internal topic', () => {
  it('is written to by nobody else, shortened by nobody, and can be read', async () => {
    const { node, calls } = await start()
    await calls.ask('findCoordinators', { groups: [] })
    const tm = await node.connect()
    await expect(tm.producer().send('__consumer_offsets', { key: 'k', value: 'v' })).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    await expect(tm.admin.deleteTopic('__consumer_offsets')).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    await expect(tm.admin.deleteRecords('__consumer_offsets', 0, 'all')).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
  })
})
