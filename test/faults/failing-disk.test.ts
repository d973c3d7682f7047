/** A disk that fails, or takes long, under a node that runs: what the kernel would say, said by strace. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { PartitionDescription, Tidemark } from '../../client/index.ts'
import { ClusterProcess } from '../../scripts/cluster-process.ts'
import type { NodeProcess } from '../../scripts/node-process.ts'
import { canTrace, inject } from './strace.ts'
import { healthOf, metricOf, sendUntil, showFigures, usePlace, valuesIn } from './support.ts'

const place = usePlace()

const NEEDS = 'needs strace, and the right to attach it'

async function partitionOf(tm: Tidemark): Promise<PartitionDescription> {
  return (await tm.admin.describeTopic('orders')).partitions[0] as PartitionDescription
}

async function single(): Promise<{ node: NodeProcess; tm: Tidemark }> {
  const node = await place.node(join(await place.directory(), 'data'))
  await node.start()
  const tm = await place.connect(node.address)
  await tm.admin.createTopic('orders', { partitions: 1 })
  return { node, tm }
}

async function threeNodes(settings: Readonly<Record<string, string>> = {}): Promise<{ cluster: ClusterProcess; tm: Tidemark }> {
  const cluster = await ClusterProcess.start(join(await place.directory(), 'cluster'), 3, settings)
  place.after(() => cluster.stop('SIGKILL'))
  const tm = await place.connect(cluster.addresses)
  await tm.admin.createTopic('orders', { partitions: 1, replicas: 3 })
  return { cluster, tm }
}

describe('E02 a disk that fails', () => {
  it('makes an end of the directory with the first sync: nothing is acknowledged any more, health says why, and a restart has all that was', async (context) => {
    if (!canTrace()) return context.skip(NEEDS)
    const { node, tm } = await single()
    const acknowledged = ['0', '1', '2']
    for (const value of acknowledged) await tm.producer().send('orders', { value })
    const trouble = await inject(node.pid, 'fdatasync:error=EIO')
    place.after(() => trouble.stop())
    await expect(tm.producer({ deliveryTimeout: '1s' }).send('orders', { value: 'lost' })).rejects.toMatchObject({
      code: expect.stringMatching(/STORAGE_FAILED|DELIVERY_TIMED_OUT/),
    })
    await trouble.stop()
    // The disk works again, and is not believed.
    await expect(tm.producer({ deliveryTimeout: '1s' }).send('orders', { value: 'refused' })).rejects.toThrow()
    if (node.isRunning) expect((await healthOf(node.address)).reasons.map(({ code }) => code)).toContain('STORAGE_FAILED')
    await node.stop('SIGKILL')
    await node.start()
    const values = await valuesIn(await place.connect(node.address), 'orders')
    expect(values.slice(0, 3)).toEqual(acknowledged)
    expect(values).not.toContain('refused')
  })

  it('under the leader takes leadership to another node, and nothing that was acknowledged is lost', async (context) => {
    if (!canTrace()) return context.skip(NEEDS)
    const { cluster, tm } = await threeNodes()
    const stop = new AbortController()
    const sending = sendUntil(stop.signal, tm, 'orders')
    const { leader } = await partitionOf(tm)
    const node = cluster.nodes[leader - 1]
    const sinceMs = performance.now()
    const trouble = await inject(node?.pid ?? -1, 'fdatasync:error=EIO')
    place.after(() => trouble.stop())
    await expect.poll(async () => (await partitionOf(tm)).leader, { timeout: 50_000 }).not.toBe(leader)
    const tookMs = performance.now() - sinceMs
    await trouble.stop()
    await tm.producer().send('orders', { value: 'after' })
    stop.abort()
    const acknowledged = await sending
    const values = new Set(await valuesIn(tm, 'orders'))
    expect(acknowledged.filter((value) => !values.has(value))).toEqual([])
    showFigures(context, `another one leads after ${(tookMs / 1000).toFixed(1)} s; ${acknowledged.length} records`)
  })
})

describe('E04 a disk that takes long', () => {
  it('under a follower, longer than a replica may stay behind: it leaves those in sync, and comes back when the disk does', async (context) => {
    if (!canTrace()) return context.skip(NEEDS)
    const { cluster, tm } = await threeNodes({ TIDEMARK_REPLICA_LAG_MAX: '2s' })
    const stop = new AbortController()
    const sending = sendUntil(stop.signal, tm, 'orders')
    const { replicas, leader } = await partitionOf(tm)
    const { leaderId: controller } = await tm.admin.cluster.describeQuorum()
    const slow = replicas.find((id) => id !== leader && id !== controller) ?? -1
    const trouble = await inject(cluster.nodes[slow - 1]?.pid ?? -1, 'fdatasync:delay_exit=10000000')
    place.after(() => trouble.stop())
    await expect.poll(async () => (await partitionOf(tm)).isr, { timeout: 50_000 }).not.toContain(slow)
    // The others go on, and whoever looks at the leader's health is told.
    await tm.producer().send('orders', { value: 'meanwhile' })
    const health = await healthOf(cluster.addresses[(await partitionOf(tm)).leader - 1] ?? '')
    expect(health.reasons.map(({ code }) => code)).toContain('UNDER_REPLICATED')
    await trouble.stop()
    await expect.poll(async () => (await partitionOf(tm)).isr.length, { timeout: 50_000 }).toBe(3)
    stop.abort()
    const acknowledged = await sending
    const values = new Set(await valuesIn(tm, 'orders'))
    expect(acknowledged.filter((value) => !values.has(value))).toEqual([])
  })

  it('of 200 ms a sync: what is sent at the same time shares it, and reading does not wait', async (context) => {
    if (!canTrace()) return context.skip(NEEDS)
    const { node, tm } = await single()
    await tm.producer().send('orders', { value: 'before' })
    const trouble = await inject(node.pid, 'fdatasync:delay_exit=200000')
    place.after(() => trouble.stop())
    const syncs = (): Promise<number> => metricOf(node.address, 'tidemark_storage_syncs_total')
    const before = await syncs()
    const sends = Promise.all(Array.from({ length: 300 }, (_, n) => tm.producer().send('orders', { value: `${n}` })))
    expect((await valuesIn(tm, 'orders')).slice(0, 1)).toEqual(['before'])
    await sends
    const shared = (await syncs()) - before
    expect(shared).toBeLessThan(100)
    expect(await valuesIn(tm, 'orders')).toHaveLength(301)
    showFigures(context, `300 sends, ${shared} syncs`)
  })
})
