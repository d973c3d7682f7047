/** Lag, resets and expiry of groups through a real node. */
import { afterEach, describe, expect, it } from 'vitest'
import type {
  FetchOffsetsResponse,
  GroupPartition,
  ResetOffsetsRequest,
  ResetOffsetsResponse,
} from '../../protocol/gen/tidemark/v1/groups.ts'
import { OffsetPosition } from '../../protocol/gen/tidemark/v1/log.ts'
import { startTidemark, type TestTidemark } from '../../testing/index.ts'
import { GroupCalls, settle, TestMember } from './group-support.ts'

const open: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

async function start(
  counts: Readonly<Record<string, number>>,
  offsetsRetentionMs = 60_000,
): Promise<{ node: TestTidemark; calls: GroupCalls }> {
  const node = await startTidemark({ config: { groups: { offsetsPartitions: 2, offsetsRetentionMs }, limits: { groupMetricsMax: 3 } } })
  const calls = new GroupCalls(() => [{ host: node.host, port: node.port }])
  open.push(
    () => node.close(),
    () => calls.close(),
  )
  const { admin } = await node.connect()
  for (const [name, partitions] of Object.entries(counts)) await admin.createTopic(name, { partitions })
  return { node, calls }
}

/** Each a second older than the next, the last one an hour old. */
async function send(node: TestTidemark, topic: string, partition: number, count: number): Promise<void> {
  const producer = (await node.connect()).producer()
  const lastMs = Date.now() - 3_600_000
  for (let index = 0; index < count; index++)
    await producer.send(topic, { value: `${index}`, partition, timestamp: lastMs - (count - 1 - index) * 1000 })
  await producer.close()
}

async function offsetsOf(calls: GroupCalls, group: string): Promise<Record<string, number | undefined>> {
  const { partitions } = await calls.ask<FetchOffsetsResponse>('fetchOffsets', { group, partitions: [], memberId: '' })
  return Object.fromEntries(partitions.map(({ topic, partition, offset }) => [`${topic}-${partition}`, offset]))
}

async function metrics(node: TestTidemark): Promise<Map<string, number>> {
  const text = await (await fetch(`http://${node.address}/metrics`)).text()
  return new Map(
    text.split('\n').flatMap((line) => {
      const match = /^(tidemark_group\S*(?:\{.*\})?) (\S+)$/.exec(line)
      return match === null ? [] : [[match[1] as string, Number(match[2])] as const]
    }),
  )
}

describe('lag', () => {
  it('is told in records and in time, of members and of groups without', async () => {
    const { node, calls } = await start({ orders: 3 })
    await send(node, 'orders', 0, 10)
    await send(node, 'orders', 1, 5)
    const member = new TestMember(calls, 'a')
    await member.beat()
    await member.commit({ 'orders-0': 4, 'orders-1': 5 })
    const simple = new TestMember(calls, '', { group: 'simple' })
    await simple.commit({ 'orders-0': 9 })
    const [behind, done, idle] = (await calls.describe('billing')).partitions as [GroupPartition, GroupPartition, GroupPartition]
    expect(behind).toMatchObject({ memberId: 'a', committedOffset: 4, highWatermark: 10, lagRecords: 6, error: undefined })
    // The oldest of them is five seconds older than the last, which is an hour old.
    expect(behind.lagMs).toBeGreaterThanOrEqual(3_605_000)
    expect(behind.lagMs).toBeLessThan(3_665_000)
    expect(behind.noProgressMs).toBeLessThan(60_000)
    expect(done).toMatchObject({ committedOffset: 5, lagRecords: 0, lagMs: 0, noProgressMs: 0 })
    expect(idle).toMatchObject({ committedOffset: undefined, lagRecords: 0, lagMs: 0 })
    expect((await calls.describe('simple')).partitions[0]).toMatchObject({ lagRecords: 1, memberId: '' })
  })

  it('is the same on the page of metrics, where too many partitions are counted and not named', async () => {
    const { node, calls } = await start({ orders: 3, payments: 2 })
    await send(node, 'orders', 0, 10)
    await new TestMember(calls, 'a', { group: 'small "one"' }).beat()
    const { partitions } = await calls.describe('small "one"')
    const found = await metrics(node)
    const labels = 'group="small \\"one\\"",topic="orders",partition="0"'
    expect(found.get(`tidemark_group_lag_records{${labels}}`)).toBe(partitions[0]?.lagRecords)
    expect(found.get(`tidemark_group_lag_seconds{${labels}}`)).toBeGreaterThanOrEqual((partitions[0]?.lagMs ?? 0) / 1000)
    expect(found.get(`tidemark_group_last_progress_seconds{${labels}}`)).toBeGreaterThanOrEqual((partitions[0]?.noProgressMs ?? 0) / 1000)
    expect(found.get('tidemark_groups')).toBe(1)
    expect(found.get('tidemark_group_members')).toBe(1)
    expect(found.get('tidemark_group_partitions_unnamed')).toBe(0)
    await new TestMember(calls, 'b', { group: 'large', topics: ['orders', 'payments'] }).beat()
    // What was answered within the last second may be told again.
    await expect.poll(async () => (await metrics(node)).get('tidemark_group_partitions_unnamed'), { timeout: 5000 }).toBe(5)
    expect([...(await metrics(node)).keys()].filter((name) => name.includes('large'))).toEqual([])
  })
})

describe('a reset', () => {
  const reset = (calls: GroupCalls, more: Partial<ResetOffsetsRequest>): Promise<ResetOffsetsResponse> =>
    calls.ask('resetOffsets', { group: 'billing', topics: [], dryRun: false, target: undefined, ...more })

  async function behind(): Promise<{ node: TestTidemark; calls: GroupCalls; member: TestMember }> {
    const { node, calls } = await start({ orders: 2 })
    await send(node, 'orders', 0, 10)
    await send(node, 'orders', 1, 10)
    const member = new TestMember(calls, 'a')
    await member.beat()
    await member.commit({ 'orders-0': 5 })
    return { node, calls, member }
  }

  const position = (value: OffsetPosition): ResetOffsetsRequest['target'] => ({ $case: 'position', value })

  it('that is only tried changes nothing, and tells all the same', async () => {
    const { calls } = await behind()
    const { partitions } = await reset(calls, { target: position(OffsetPosition.LATEST), dryRun: true })
    expect(partitions).toMatchObject([
      { topic: 'orders', partition: 0, previousOffset: 5, offset: 10, memberId: 'a', error: undefined },
      { topic: 'orders', partition: 1, previousOffset: undefined, offset: 10, memberId: 'a', error: undefined },
    ])
    expect(await offsetsOf(calls, 'billing')).toEqual({ 'orders-0': 5 })
  })

  it('of a group at work fences its members: what they commit of before is refused, and they begin anew', async () => {
    const { calls, member } = await behind()
    const parked = member.beat({ maxWaitMs: 10_000 })
    const late = member.partition('orders-0', 7)
    await reset(calls, { target: position(OffsetPosition.EARLIEST), topics: [{ topic: 'orders', partitions: [0] }] })
    const commit = { group: 'billing', memberId: 'a', instanceId: '', partitions: [late], rewind: false }
    expect(await calls.ask('commitOffsets', commit)).toMatchObject({ partitions: [{ error: { code: 'STALE_MEMBER_EPOCH' } }] })
    // The parked heartbeat tells it at once.
    await parked
    expect(member.held.get('orders-0')?.assignedEpoch).not.toBe(late.assignedEpoch)
    expect(await offsetsOf(calls, 'billing')).toEqual({ 'orders-0': 0 })
    expect(await member.commit({ 'orders-0': 1 })).toEqual({ 'orders-0': undefined })
  })

  it('goes by time, by distance, to offsets and to those of another group, and no further than the log', async () => {
    const { calls } = await behind()
    const only = [{ topic: 'orders', partitions: [0] }]
    const to = async (target: ResetOffsetsRequest['target']): Promise<unknown> => {
      const { partitions } = await reset(calls, { target, topics: only })
      return partitions.map(({ offset, clamped, error }) => error?.code ?? (clamped ? `${offset}, clamped` : offset))
    }
    expect(await to({ $case: 'timestampMs', value: Date.now() - 3_600_000 - 60_000 })).toEqual([0])
    expect(await to({ $case: 'timestampMs', value: Date.now() })).toEqual([10])
    expect(await to({ $case: 'shift', value: -4 })).toEqual([6])
    expect(await to({ $case: 'shift', value: 2 })).toEqual([8])
    expect(await to({ $case: 'shift', value: -100 })).toEqual(['0, clamped'])
    const explicit = [0, 1, 7].map((partition) => ({ topic: 'orders', partition, offset: 3 * partition + 2 }))
    expect(await to({ $case: 'offsets', value: { partitions: explicit } })).toEqual([2, 5, 'UNKNOWN_PARTITION'])
    expect(await to({ $case: 'offsets', value: { partitions: [{ topic: 'orders', partition: 0, offset: 99 }] } })).toEqual(['10, clamped'])
    await new TestMember(calls, '', { group: 'other' }).commit({ 'orders-0': 9 })
    expect(await to({ $case: 'fromGroup', value: 'other' })).toEqual([9])
    const { partitions } = await reset(calls, { target: { $case: 'fromGroup', value: 'other' } })
    expect(partitions.map(({ error, offset }) => error?.code ?? offset)).toEqual([9, 'OFFSET_OUT_OF_RANGE'])
  })

  it('can be undone with what it answers', async () => {
    const { calls } = await behind()
    const { partitions } = await reset(calls, { target: position(OffsetPosition.LATEST) })
    const before = partitions.flatMap(({ topic, partition, previousOffset: offset }) =>
      offset === undefined ? [] : [{ topic, partition, offset }],
    )
    await reset(calls, { target: { $case: 'offsets', value: { partitions: before } } })
    expect(await offsetsOf(calls, 'billing')).toEqual({ 'orders-0': 5, 'orders-1': 10 })
  })

  it('needs to know where to, and of which group', async () => {
    const { calls } = await behind()
    await expect(reset(calls, {})).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    await expect(reset(calls, { group: 'unknown', target: position(OffsetPosition.LATEST) })).rejects.toMatchObject({
      code: 'GROUP_ID_NOT_FOUND',
    })
    // With topics named it is a way to give a group its start.
    const { partitions } = await reset(calls, {
      group: 'new',
      topics: [{ topic: 'orders', partitions: [] }],
      target: position(OffsetPosition.LATEST),
    })
    expect(partitions.map(({ offset }) => offset)).toEqual([10, 10])
    expect(await offsetsOf(calls, 'new')).toEqual({ 'orders-0': 10, 'orders-1': 10 })
  })
})

describe('offsets', () => {
  it('of a topic that is deleted are gone, and one created again under its name inherits none', async () => {
    const { node, calls } = await start({ orders: 1, payments: 1 })
    const simple = new TestMember(calls, '', { group: 'simple' })
    await simple.commit({ 'orders-0': 4, 'payments-0': 5 })
    const { admin } = await node.connect()
    await admin.deleteTopic('orders')
    await admin.createTopic('orders', { partitions: 1 })
    await expect.poll(() => offsetsOf(calls, 'simple')).toEqual({ 'payments-0': 5 })
    await node.restart()
    expect(await offsetsOf(calls, 'simple')).toEqual({ 'payments-0': 5 })
  })

  it('expire when the group has been empty for long enough, and the group with them', async () => {
    const { calls } = await start({ orders: 1 }, 500)
    const member = new TestMember(calls, 'a')
    await member.beat()
    await member.commit({ 'orders-0': 4 })
    await member.leave()
    await expect.poll(async () => (await calls.describe('billing')).error?.code, { timeout: 5000 }).toBe('GROUP_ID_NOT_FOUND')
    expect(await offsetsOf(calls, 'billing')).toEqual({})
  })

  it('can be deleted where no member reads the topic', async () => {
    const { calls } = await start({ orders: 1, payments: 1 })
    await new TestMember(calls, '').commit({ 'orders-0': 4, 'payments-0': 5 })
    await settle(new TestMember(calls, 'a'))
    const topics = ['orders', 'payments', 'unknown'].map((topic) => ({ topic, partitions: [], memberId: '' }))
    expect(await calls.ask('deleteOffsets', { group: 'billing', topics })).toMatchObject({
      partitions: [
        { topic: 'orders', error: { code: 'GROUP_SUBSCRIBED_TO_TOPIC' }, offset: 4 },
        { topic: 'payments', error: undefined, offset: 5 },
        { topic: 'unknown', partition: -1, error: { code: 'UNKNOWN_TOPIC' } },
      ],
    })
    expect(await offsetsOf(calls, 'billing')).toEqual({ 'orders-0': 4 })
    expect(await calls.ask('deleteGroups', { groups: ['billing'] })).toMatchObject({ groups: [{ error: { code: 'NON_EMPTY_GROUP' } }] })
  })
})
