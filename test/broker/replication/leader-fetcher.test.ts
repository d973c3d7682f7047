/** What one follower asks of one leader, with partitions and a network that are only as much as it looks at. */
import { expect, it } from 'vitest'
import type { Partition } from '../../../broker/partition.ts'
import type { ReplicaStreamEvents } from '../../../broker/replication/channel.ts'
import { LeaderFetcher } from '../../../broker/replication/leader-fetcher.ts'
import type { ReplicaFetchRequest } from '../../../protocol/gen/tidemark/v1/replica.ts'
import { silentLog } from '../../../runtime/node.ts'
import { chanceOf } from '../../../scripts/random.ts'
import { VirtualTime } from '../../sim/virtual-time.ts'

function followed(partition: number): { readonly partition: Partition; readonly log: { writtenOffset: number; logEndOffset: number } } {
  const log = { logStartOffset: 0, logEndOffset: 0, writtenOffset: 0, flushedOffset: 0, leaderEpochs: { latest: -1 } }
  const stand = {
    topic: 'orders',
    topicId: 'AAAAAAAAAAAAAAAAAAAAAA',
    partition,
    leaderEpoch: 0,
    isChanging: false,
    log,
    toldHighWatermark() {},
  }
  return { partition: stand as unknown as Partition, log }
}

it('goes on with the others when a partition that still had something to write is led by somebody else', async () => {
  const time = new VirtualTime()
  const sent: ReplicaFetchRequest[] = []
  let events: ReplicaStreamEvents | undefined
  const fetcher = new LeaderFetcher(2, {
    nodeId: 1,
    clusterId: () => 'c',
    nodeEpoch: () => 1,
    runtime: { clock: time, timers: time, random: { float: chanceOf(1), bytes: Buffer.alloc }, log: silentLog },
    channel: {
      open: (_nodeId, told) => {
        events = told
        return { send: (request) => void sent.push(request), close() {} }
      },
    },
    truncate: () => Promise.resolve(),
    reset: () => Promise.resolve(),
  })
  const [stays, goes] = [followed(0), followed(1)]
  fetcher.follow(stays.partition)
  fetcher.follow(goes.partition)
  await time.advance(1)
  expect(sent.map(({ partitions }) => partitions.map(({ partition }) => partition))).toEqual([[0, 1]])
  // The answer has come, and what it brought for the one is on its way to the disk.
  goes.log.logEndOffset = 1
  events?.answered({ correlationId: sent[0]?.correlationId ?? 0, error: undefined, partitions: [] })
  await time.advance(1)
  expect(sent).toHaveLength(1)
  fetcher.unfollow(goes.partition)
  await time.advance(1)
  expect(sent.slice(1).map(({ partitions }) => partitions.map(({ partition }) => partition))).toEqual([[0]])
  fetcher.close()
})
