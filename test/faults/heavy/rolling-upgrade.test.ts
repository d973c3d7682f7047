/** A cluster that goes to a newer version, node by node, and back again, while a producer writes to it. */
import { expect, it } from 'vitest'
import { ClusterProcess } from '../../../scripts/cluster-process.ts'
import { makeNextVersion } from '../next-version.ts'
import { ROOT, sendUntil, showFigures, usePlace, valuesIn } from '../support.ts'

const place = usePlace()

it('E15 three nodes go to the newer version and back, one at a time, and lose nothing that was acknowledged', async (context) => {
  const directory = await place.directory()
  const next = await makeNextVersion(directory)
  const cluster = await ClusterProcess.start(directory)
  place.after(() => cluster.stop('SIGKILL'))
  const tm = await place.connect(cluster.addresses)
  await tm.admin.createTopic('orders', { partitions: 3, replicas: 3 })

  const stop = new AbortController()
  const load = sendUntil(stop.signal, tm, 'orders')
  const isWhole = async (): Promise<boolean> => (await tm.admin.describeTopic('orders')).partitions.every(({ isr }) => isr.length === 3)
  for (const sources of [next, ROOT]) {
    for (const node of cluster.nodes) {
      await node.stop()
      node.sources = sources
      await node.start()
      await expect.poll(isWhole, { timeout: 60_000 }).toBe(true)
      // With both versions in it the cluster still decides.
      await tm.admin.createTopic(`by-${sources === ROOT ? 'this' : 'next'}-${node.port}`, { partitions: 1, replicas: 3 })
    }
  }
  stop.abort()
  const acknowledged = await load
  expect((await valuesIn(tm, 'orders')).sort()).toEqual(acknowledged.sort())
  expect(await tm.admin.listTopics()).toHaveLength(7)
  showFigures(context, `6 restarts, ${acknowledged.length} records`)
}, 180_000)
