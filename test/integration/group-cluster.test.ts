/** Groups of three nodes in processes of their own, which are killed and paused while members commit. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { connect } from '../../client/index.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { FetchOffsetsResponse, FindCoordinatorsResponse } from '../../protocol/gen/tidemark/v1/groups.ts'
import { ClusterProcess } from '../../scripts/cluster-process.ts'
import type { NodeProcess } from '../../scripts/node-process.ts'
import { GroupCalls, settle, TestMember } from './group-support.ts'

const open: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

const PARTITIONS = 6

async function start(): Promise<{ cluster: ClusterProcess; calls: GroupCalls }> {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-groups-'))
  open.push(() => rm(directory, { recursive: true, force: true }))
  const cluster = await ClusterProcess.start(directory, 3, {
    TIDEMARK_SESSION_TIMEOUT: '1500ms',
    TIDEMARK_HEARTBEAT_INTERVAL: '200ms',
    TIDEMARK_ELECTION_TIMEOUT: '400ms',
    TIDEMARK_ELECTION_HEARTBEAT_INTERVAL: '50ms',
    TIDEMARK_GROUPS_OFFSETS_PARTITIONS: '3',
    TIDEMARK_LIMITS_DISK_MIN_FREE: '0B',
  })
  open.push(() => cluster.stop('SIGKILL'))
  const calls = new GroupCalls(() => cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port })))
  open.push(() => calls.close())
  const tm = await connect(cluster.addresses)
  await tm.admin.createTopic('orders', { partitions: PARTITIONS })
  await tm.close()
  return { cluster, calls }
}

async function coordinatorOf(cluster: ClusterProcess, calls: GroupCalls): Promise<NodeProcess> {
  const { coordinators } = await calls.ask<FindCoordinatorsResponse>('findCoordinators', { groups: ['billing'] })
  return cluster.nodes[(coordinators[0]?.nodeId ?? 0) - 1] as NodeProcess
}

async function offsetsOf(calls: GroupCalls): Promise<Map<string, number>> {
  const request = { group: 'billing', partitions: [], memberId: '' }
  const { partitions } = await calls.ask<FetchOffsetsResponse>('fetchOffsets', request)
  return new Map(partitions.map(({ topic, partition, offset }) => [`${topic}-${partition}`, offset ?? 0]))
}

/** Members that commit as fast as they are answered, and someone who watches what is committed; what must hold of it is looked at all the while. */
class Traffic {
  readonly acknowledged = new Map<string, number>()
  /** A partition in an epoch has one owner. */
  readonly #owners = new Map<string, string>()
  readonly #calls: GroupCalls
  readonly #running: Promise<void>[]
  #isOver = false
  commitCount = 0

  constructor(calls: GroupCalls, members: readonly TestMember[]) {
    this.#calls = calls
    this.#running = [...members.flatMap((member) => [this.#commit(member), this.#beat(member)]), this.#watch()]
  }

  /** Resolves when so many commits more have been acknowledged. */
  async goOn(count: number): Promise<void> {
    const goal = this.commitCount + count
    await expect.poll(() => this.commitCount, { timeout: 40_000, interval: 20 }).toBeGreaterThan(goal)
  }

  async end(): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#running)
  }

  async #beat(member: TestMember): Promise<void> {
    while (!this.#isOver) {
      await member.beat({ maxWaitMs: 200 })
      for (const [name, { assignedEpoch }] of member.held) {
        const place = `${name} in epoch ${assignedEpoch}`
        expect(this.#owners.get(place) ?? member.memberId, place).toBe(member.memberId)
        this.#owners.set(place, member.memberId)
      }
    }
  }

  async #commit(member: TestMember): Promise<void> {
    while (!this.#isOver) {
      const offsets = Object.fromEntries(member.names.map((name) => [name, (this.acknowledged.get(name) ?? 0) + 1]))
      if (Object.keys(offsets).length === 0) await member.beat()
      const refused = await member.commit(offsets)
      for (const [name, offset] of Object.entries(offsets)) {
        if (refused[name] !== undefined) continue
        this.acknowledged.set(name, Math.max(offset, this.acknowledged.get(name) ?? 0))
        this.commitCount++
      }
    }
  }

  async #watch(): Promise<void> {
    let seen = new Map<string, number>()
    while (!this.#isOver) {
      const known = new Map(this.acknowledged)
      const offsets = await offsetsOf(this.#calls)
      for (const least of [known, seen])
        for (const [name, offset] of least) expect(offsets.get(name), `${name} does not go back`).toBeGreaterThanOrEqual(offset)
      seen = offsets
    }
  }
}

describe('a group of a cluster', () => {
  it('loses no acknowledged commit, and none goes back, when its coordinator is killed or stops answering (K41, J24)', async () => {
    const { cluster, calls } = await start()
    const members = ['a', 'b', 'c'].map((memberId) => new TestMember(calls, memberId))
    await settle(...members)
    expect(members.map(({ names }) => names.length)).toEqual([2, 2, 2])
    const traffic = new Traffic(calls, members)
    await traffic.goOn(200)
    const killed = await coordinatorOf(cluster, calls)
    await killed.stop('SIGKILL')
    await traffic.goOn(200)
    await killed.start()
    await traffic.goOn(200)
    const paused = await coordinatorOf(cluster, calls)
    paused.signal('SIGSTOP')
    await traffic.goOn(200)
    // It takes itself for the coordinator still.
    paused.signal('SIGCONT')
    await traffic.goOn(200)
    const stopped = await coordinatorOf(cluster, calls)
    await stopped.stop('SIGTERM')
    await traffic.goOn(200)
    await stopped.start()
    await traffic.goOn(200)
    await traffic.end()
    const offsets = await offsetsOf(calls)
    for (const [name, offset] of traffic.acknowledged) expect(offsets.get(name)).toBeGreaterThanOrEqual(offset)
    // Nobody was thrown out, and nothing moved.
    expect(members.map(({ names }) => names.length)).toEqual([2, 2, 2])
  })

  it('has its lag told by whoever coordinates it, whichever nodes lead the partitions', async () => {
    const { cluster, calls } = await start()
    const tm = await connect(cluster.addresses)
    const producer = tm.producer()
    for (let partition = 0; partition < PARTITIONS; partition++)
      for (let count = 0; count <= partition; count++) await producer.send('orders', { value: 'x', partition })
    const leaders = new Set((await tm.admin.describeTopic('orders')).partitions.map(({ leader }) => leader))
    expect(leaders.size).toBe(3)
    await tm.close()
    const member = new TestMember(calls, 'a')
    await member.beat()
    await member.commit(Object.fromEntries(member.names.map((name) => [name, 1])))
    await expect
      .poll(async () => (await calls.describe('billing')).partitions.map(({ lagRecords, error }) => error?.code ?? lagRecords))
      .toEqual([0, 1, 2, 3, 4, 5])
    const coordinator = await coordinatorOf(cluster, calls)
    const other = cluster.nodes.find((node) => node !== coordinator) as NodeProcess
    await expect(
      calls.once({ host: '127.0.0.1', port: other.port }, 'fetchOffsets', { group: 'billing', partitions: [], memberId: '' }),
    ).rejects.toSatisfy((error) => TidemarkError.is(error) && error.code === 'NOT_COORDINATOR' && error.leader !== undefined)
  })
})
