/** One who takes or gives as much as goes, and the others. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { PartitionDescription, Tidemark } from '../../../client/index.ts'
import { ClusterProcess } from '../../../scripts/cluster-process.ts'
import { hammer } from '../hammer.ts'
import { showFigures, usePlace, valuesIn } from '../support.ts'

const place = usePlace()

/** What the others do meanwhile: so many records, each acknowledged by every replica in sync, and read by someone who follows. */
const OTHERS = 200
const HOT_RECORDS = 500

async function threeNodes(): Promise<{ tm: Tidemark; cluster: ClusterProcess; leader: string }> {
  const cluster = await ClusterProcess.start(join(await place.directory(), 'cluster'))
  place.after(() => cluster.stop('SIGKILL'))
  const tm = await place.connect(cluster.addresses)
  // All on the same leader, who has to be fair to them.
  for (const topic of ['hot', 'other']) {
    await tm.admin.createTopic(topic, { partitions: 1, replicas: 3 })
    await tm.admin.cluster.reassign(topic, 0, [1, 2, 3])
    await expect.poll(async () => (await partitionOf(tm, topic)).leader, { timeout: 30_000 }).toBe(1)
  }
  return { tm, cluster, leader: cluster.addresses[0] as string }
}

async function partitionOf(tm: Tidemark, topic: string): Promise<PartitionDescription> {
  return (await tm.admin.describeTopic(topic)).partitions[0] as PartitionDescription
}

/** Every replica is in sync, or is again: on a machine that is too busy one may have fallen behind. */
async function isWhole(tm: Tidemark): Promise<void> {
  for (const topic of ['hot', 'other'])
    await expect.poll(async () => (await partitionOf(tm, topic)).isr.length, { timeout: 30_000 }).toBe(3)
}

/** Another application: sends to the other topic and follows it, until all of it went through. */
async function others(addresses: readonly string[]): Promise<void> {
  const tm = await place.connect(addresses)
  const following = (async () => {
    const values: string[] = []
    for await (const { value } of tm.consumer('other', { start: 'earliest' })) {
      values.push(String(value))
      if (values.length === OTHERS) return values
    }
    return values
  })()
  const producer = tm.producer()
  const sent = Array.from({ length: OTHERS }, (_, n) => `${n}`)
  for (const value of sent) await producer.send('other', { value })
  expect(await following).toEqual(sent)
}

describe('E13 fairness', () => {
  it('a consumer that takes one partition byte by byte, over and over, holds up neither others nor replication', async (context) => {
    const { tm, cluster, leader } = await threeNodes()
    // Small batches: a page of one byte is one of them.
    const producer = tm.producer({ batchBytes: '1KiB' })
    await Promise.all(Array.from({ length: HOT_RECORDS }, (_, n) => producer.send('hot', { value: `${n}`.padEnd(900, 'x') })))
    const hot = hammer(leader, 'hot', HOT_RECORDS)
    place.after(() => hot.close())
    await expect.poll(() => hot.answerCount, { timeout: 30_000 }).toBeGreaterThan(1000)
    const before = hot.answerCount
    await others(cluster.addresses)
    const meanwhile = hot.answerCount - before
    expect(hot.byteCount).toBeGreaterThan(0)
    expect(meanwhile).toBeGreaterThan(OTHERS)
    await isWhole(tm)
    showFigures(context, `${meanwhile} answers to the one while ${OTHERS} records of others were replicated and read`)
  })

  it('a producer that floods one partition holds up neither the producers and consumers of others nor replication', async (context) => {
    const { tm, cluster } = await threeNodes()
    const stop = new AbortController()
    const value = Buffer.alloc(20_000, 7)
    const flood = (async () => {
      const producer = tm.producer()
      let count = 0
      // Waits where the client has no room for more.
      for (const sends: Promise<unknown>[] = []; !stop.signal.aborted; count++) {
        sends.push(producer.send('hot', { value }))
        if (sends.length === 500) await Promise.all(sends.splice(0))
      }
      await producer.flush()
      return count
    })()
    await expect.poll(async () => (await tm.admin.offsets('hot'))[0]?.highWatermark, { timeout: 30_000 }).toBeGreaterThan(500n)
    await others(cluster.addresses)
    stop.abort()
    const flooded = await flood
    expect(await valuesIn(tm, 'hot')).toHaveLength(flooded)
    await isWhole(tm)
    showFigures(context, `${flooded} records of 20 KB into one partition while ${OTHERS} of others were replicated and read`)
  })
})
