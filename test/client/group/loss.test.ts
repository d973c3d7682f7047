/** What becomes of members that are slow, stopped, cut off or stuck, and of their group. On virtual time. */
import { describe, expect, it } from 'vitest'
import { notes } from './support.ts'
import { committedOf, join, outcomeOf, type Received, send, world } from './sim-support.ts'

const MINUTE = 60_000

/** Resolves when `ms` of the time of the test have passed. */
const sleep = ({ cluster }: Awaited<ReturnType<typeof world>>, ms: number): Promise<void> =>
  new Promise((resolve) => void cluster.time.after(ms, resolve))

describe('a handler that sleeps for ten minutes', () => {
  it('keeps its membership, and its commit counts', async () => {
    const w = await world()
    await send(w, 2)
    const { member } = join(w, 'slow')
    const told = notes(member)
    const values: string[] = []
    const run = outcomeOf(
      member.run(async ({ value }) => {
        await sleep(w, 10 * MINUTE)
        values.push(String(value))
      }),
    )
    await w.cluster.advance(10 * MINUTE + 5000)
    expect(values).toEqual(['0'])
    const { members } = await w.cluster.run(w.outside.tm.admin.groups.describe('billing'))
    expect(members).toMatchObject([{ memberId: member.memberId }])
    expect(members[0]?.silentMs).toBeLessThan(4000)
    expect([await committedOf(w), told, run.isOver]).toEqual([1, ['assigned orders-0'], false])
  })

  it('keeps what it has while another joins: the partition goes when the handler is done, to nobody before', async () => {
    const w = await world(2)
    await send(w, 1, 0)
    await send(w, 1, 1)
    const atWork = new Set<number>()
    const handled: string[] = []
    const handler =
      (name: string, ms: number) =>
      async ({ partition }: Received): Promise<void> => {
        expect(atWork.has(partition)).toBe(false)
        atWork.add(partition)
        await sleep(w, ms)
        atWork.delete(partition)
        handled.push(`${name} ${partition}`)
      }
    const slow = join(w, 'slow').member
    void slow.run(handler('slow', 2 * MINUTE), { concurrency: 2 })
    await w.cluster.until(() => atWork.size === 2, 5000)
    const quick = join(w, 'quick').member
    void quick.run(handler('quick', 10))
    await w.cluster.advance(MINUTE)
    await send(w, 1, 1, 1)
    await w.cluster.advance(2 * MINUTE)
    expect(handled).toEqual(['slow 0', 'slow 1', 'quick 1'])
    expect([await committedOf(w, 0), await committedOf(w, 1)]).toEqual([1, 2])
  })

  it('that outlasts the rebalance timeout loses that partition only; its signal aborts before, and its commit is refused', async () => {
    const w = await world(2)
    await send(w, 1, 0)
    await send(w, 1, 1)
    const slow = join(w, 'slow', { rebalanceTimeout: '30s', stallTimeout: false }).member
    const told = notes(slow)
    const late: { isAborted?: boolean; code?: unknown } = {}
    const run = outcomeOf(
      slow.run(
        async (message, { signal }) => {
          if (message.partition === 0) return
          await sleep(w, 2 * MINUTE)
          late.isAborted = signal.aborted
          late.code = await message.commit().catch(({ code }: { code: unknown }) => code)
        },
        { concurrency: 2 },
      ),
    )
    await w.cluster.advance(5000)
    const handled: string[] = []
    void join(w, 'quick').member.run(({ partition, value }) => void handled.push(`${partition}: ${String(value)}`))
    await w.cluster.advance(MINUTE)
    expect(handled).toEqual(['1: 0'])
    await w.cluster.advance(2 * MINUTE)
    expect([late, run.isOver, told]).toEqual([
      { isAborted: true, code: 'STALE_MEMBER_EPOCH' },
      false,
      ['assigned orders-0 orders-1', 'revoked orders-1'],
    ])
  })
})

describe('a process that is stopped for longer than its session', () => {
  it('loses its partitions, begins nothing with them when it goes on, and its late commit is refused', async () => {
    const w = await world()
    await send(w, 10)
    const { client, member } = join(w, 'stopped')
    const told = notes(member)
    const seen: string[] = []
    let late: unknown
    void member.run(async (message) => {
      seen.push(String(message.value))
      if (seen.length === 3) {
        // What came before is committed.
        await sleep(w, 1000)
        client.process.pause()
        await sleep(w, 2 * MINUTE)
        late = await message.commit().catch(({ code }: { code: unknown }) => code)
      }
    })
    await w.cluster.until(() => client.process.isPaused, 5000)
    const others: string[] = []
    const { member: other } = join(w, 'other')
    void other.run(({ value }) => void others.push(String(value)))
    await w.cluster.advance(MINUTE)
    expect(others).toEqual(['2', '3', '4', '5', '6', '7', '8', '9'])
    client.process.resume()
    await w.cluster.advance(2 * MINUTE)
    expect(late).toBe('STALE_MEMBER_EPOCH')
    expect([seen, await committedOf(w)]).toEqual([['0', '1', '2'], 10])
    expect(told.slice(0, 2)).toEqual(['assigned orders-0', 'lost orders-0'])
    // It is a member again.
    const { members } = await w.cluster.run(w.outside.tm.admin.groups.describe('billing'))
    expect(members).toHaveLength(2)
  })
})

describe('a process that was stopped', () => {
  it('looks at the clock before it begins the next record, not only when it is told', async () => {
    const w = await world()
    await send(w, 5)
    const { client, member } = join(w, 'stopped')
    const seen: string[] = []
    void member.run(async ({ value }) => {
      seen.push(String(value))
      // Over while the process is stopped: the first that happens to it when it goes on, before any heartbeat is answered.
      await new Promise<void>((resolve) => void client.process.timers.after(1000, resolve))
    })
    await w.cluster.until(() => seen.length === 1, 5000)
    client.process.pause()
    const others: string[] = []
    void join(w, 'other').member.run(({ value }) => void others.push(String(value)))
    await w.cluster.advance(MINUTE)
    client.process.resume()
    await w.cluster.advance(MINUTE)
    expect([seen, others]).toEqual([['0'], ['0', '1', '2', '3', '4']])
  })
})

describe('a member that crashes before it has read anything', () => {
  it('leaves behind where the group began: what came meanwhile is read', async () => {
    const w = await world()
    await send(w, 3)
    const { client, member } = join(w, 'first', { start: 'latest' })
    member.on('assigned', () => client.process.kill())
    void member.run(() => {})
    await w.cluster.until(() => !client.process.isAlive, 5000)
    await send(w, 2, 0, 3)
    const values: string[] = []
    void join(w, 'second', { start: 'latest' }).member.run(({ value }) => void values.push(String(value)))
    await w.cluster.advance(MINUTE)
    expect(values).toEqual(['3', '4'])
  })
})

describe('a member that is cut off from its coordinator', () => {
  it('and gets its partition back begins with it when the handler of before is done', async () => {
    const w = await world()
    await send(w, 2)
    const { client, member } = join(w, 'cut')
    const told = notes(member)
    const steps: string[] = []
    let count = 0
    void member.run(async ({ value }) => {
      const name = `${String(value)} (${count++})`
      steps.push(`begins ${name}`)
      if (count === 1) await sleep(w, 3 * MINUTE)
      steps.push(`ends ${name}`)
    })
    await w.cluster.until(() => steps.length === 1, 5000)
    w.cluster.split([client.process.host], ['n1'])
    await w.cluster.advance(MINUTE)
    w.cluster.network.heal()
    await w.cluster.advance(MINUTE)
    expect([told, steps]).toEqual([['assigned orders-0', 'lost orders-0'], ['begins 0 (0)']])
    await w.cluster.advance(2 * MINUTE)
    expect(steps).toEqual(['begins 0 (0)', 'ends 0 (0)', 'begins 0 (1)', 'ends 0 (1)', 'begins 1 (2)', 'ends 1 (2)'])
  })

  it('stops before another begins, and comes back when it can', async () => {
    const w = await world()
    const { client, member } = join(w, 'cut')
    const told = notes(member)
    const seen: string[] = []
    void member.run(({ value }) => void seen.push(String(value)))
    await send(w, 2)
    await w.cluster.until(() => seen.length === 2, 5000)
    const { member: other } = join(w, 'other')
    const begun: number[] = []
    other.on('assigned', () => void begun.push(w.cluster.time.nowMs))
    const ended: number[] = []
    member.on('lost', () => void ended.push(w.cluster.time.nowMs))
    void other.run(() => {})
    await w.cluster.advance(5000)
    w.cluster.split([client.process.host], ['n1'])
    await w.cluster.advance(2 * MINUTE)
    expect([ended.length, begun.length]).toEqual([1, 1])
    expect(ended[0]).toBeLessThan(begun[0] as number)
    w.cluster.network.heal()
    await w.cluster.advance(MINUTE)
    expect(told).toContain('idle')
  })
})

describe('a handler that never returns', () => {
  it('is reported and ends the member, and others go on from what was committed', async () => {
    const w = await world()
    await send(w, 5)
    const { member } = join(w, 'stuck', { stallTimeout: '2m' })
    const told = notes(member)
    const run = outcomeOf(member.run(({ value }) => (String(value) === '3' ? new Promise(() => {}) : undefined)))
    await w.cluster.advance(3 * MINUTE)
    expect(run.error).toMatchObject({
      code: 'STALLED',
      message: 'what was handed over of orders-0 up to offset 3 has been in hand for more than 2m',
    })
    expect(told[1]).toBe(`stalled: ${(run.error as Error).message}`)
    const others: string[] = []
    void join(w, 'other').member.run(({ value }) => void others.push(String(value)))
    await w.cluster.advance(5000)
    expect(others).toEqual(['3', '4'])
  })

  it('shows in what administration says of the group', async () => {
    const w = await world()
    await send(w, 5)
    void join(w, 'stuck', { stallTimeout: false }).member.run(({ value }) => (String(value) === '3' ? new Promise(() => {}) : undefined))
    await w.cluster.advance(10 * MINUTE)
    const { partitions } = await w.cluster.run(w.outside.tm.admin.groups.describe('billing'))
    expect(partitions).toMatchObject([{ topic: 'orders', partition: 0, committed: 3n, lag: 2n }])
    expect(partitions[0]?.noProgressMs).toBeGreaterThan(9 * MINUTE)
  })
})

describe('a coordinator', () => {
  it('that is nowhere to be found is no reason to wait in silence', async () => {
    const w = await world()
    const { member } = join(w, 'lonely', { stallTimeout: '5m' })
    const run = outcomeOf(member.run(() => {}))
    await w.cluster.advance(10_000)
    w.cluster.node(1).kill()
    await w.cluster.advance(7 * MINUTE)
    expect(run.error).toMatchObject({ code: 'STALLED', message: expect.stringContaining('the coordinator of group billing') as unknown })
  })

  it('that is killed is followed by another, and nothing is lost or repeated', async () => {
    const w = await world(2, 7, 3)
    const seen: string[] = []
    const names = ['a', 'b']
    for (const name of names) void join(w, name).member.run(({ partition, value }) => void seen.push(`${partition}:${String(value)}`))
    await w.cluster.advance(10_000)
    await send(w, 20, 0)
    await send(w, 20, 1)
    await w.cluster.advance(2000)
    const { coordinatorId } = await w.cluster.run(w.outside.tm.admin.groups.describe('billing'))
    w.cluster.node(coordinatorId).kill()
    await send(w, 20, 0, 20)
    await send(w, 20, 1, 20)
    await w.cluster.until(() => seen.length === 80, 2 * MINUTE)
    await w.cluster.advance(10_000)
    expect(new Set(seen).size).toBe(80)
    expect(seen).toHaveLength(80)
    expect([await committedOf(w, 0), await committedOf(w, 1)]).toEqual([40, 40])
  })
})
