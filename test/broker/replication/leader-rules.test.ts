/** Where a leader and a follower find that their logs part, with real logs and the rules of both. */
import { expect, it } from 'vitest'
import { divergenceOf } from '../../../broker/replication/leader-rules.ts'
import { nextFetch, stepFor } from '../../../broker/replication/follower-rules.ts'
import type { DataDir } from '../../../log/data-dir.ts'
import type { PartitionLog } from '../../../log/partition-log.ts'
import { patchBatch } from '../../../protocol/batch-header.ts'
import { batchOf, contentOf, createWorld, openDir, openOrders } from '../../log/support.ts'

const LEADER_EPOCH = 9

async function openLog(): Promise<PartitionLog> {
  return openOrders(await openDir(createWorld()))
}

interface Follower {
  readonly dir: DataDir
  log: PartitionLog
}

async function append(log: PartitionLog, from: number, to: number, epoch: number): Promise<void> {
  for (let offset = from; offset < to; offset++) {
    const batch = batchOf([`${offset}`])
    patchBatch(batch, 0, offset, epoch)
    log.appendAsFollower(batch, LEADER_EPOCH)
  }
  await log.flush()
}

/** Fetches until the follower has all that the leader has. */
async function catchUp(follower: Follower, leader: PartitionLog): Promise<void> {
  for (let round = 0; follower.log.logEndOffset < leader.logEndOffset; round++) {
    const { log, dir } = follower
    if (round > 20) throw new Error(`the follower stays at ${log.logEndOffset}`)
    const asked = nextFetch(log, { topicId: '', partition: 0, leaderEpoch: LEADER_EPOCH, suspect: false }, 1 << 20)
    const diverging = divergenceOf({ log: leader }, asked)
    const batches = diverging === undefined ? Buffer.concat(await leader.read(asked.fetchOffset, 1, leader.logEndOffset)) : Buffer.alloc(0)
    const answer = { topicId: '', partition: 0, error: undefined, highWatermark: 0, logStartOffset: 0, diverging, batches }
    const step = stepFor(log, asked.fetchOffset, { ...answer, sparseBelow: 0, replicatedBelow: 0 })
    if (step.kind === 'append') log.appendAsFollower(step.batches, LEADER_EPOCH)
    else if (step.kind === 'truncate') follower.log = (await dir.truncateLog(log, step.offset)).log
    else throw new Error(`the follower cannot do anything: ${step.kind}`)
    await follower.log.flush()
  }
}

it('a follower whose last batch came with the epoch of a later one, where a bit was flipped, goes back behind it and catches up', async () => {
  const leader = await openLog()
  const dir = await openDir(createWorld())
  const follower = { dir, log: await openOrders(dir) }
  await append(leader, 0, 3, 2)
  await append(leader, 3, 6, 4)
  await append(leader, 6, 9, 6)
  await append(follower.log, 0, 3, 2)
  await append(follower.log, 3, 4, 4)
  // Epoch 6 is there, but begins at 6: this batch should have epoch 4.
  await append(follower.log, 4, 5, 6)
  await catchUp(follower, leader)
  expect(follower.log.leaderEpochs.entries).toEqual(leader.leaderEpochs.entries)
  expect(await contentOf(follower.log)).toEqual(await contentOf(leader))
})

it('a follower that ends within an epoch or just where the next begins has nothing to cut', async () => {
  const leader = await openLog()
  await append(leader, 0, 3, 2)
  await append(leader, 3, 6, 4)
  for (const [end, epoch] of [
    [1, 2],
    [3, 2],
    [4, 4],
    [6, 4],
  ] as const)
    expect(
      divergenceOf(
        { log: leader },
        {
          ...nextFetch(leader, { topicId: '', partition: 0, leaderEpoch: 4, suspect: false }, 1),
          fetchOffset: end,
          lastFetchedEpochPlusOne: epoch + 1,
        },
      ),
    ).toBeUndefined()
})
