import { afterEach, describe, expect, it } from 'vitest'
import { MemoryRaftStore } from '../../controller/memory-raft-store.ts'
import { SNAPSHOT_EVERY, SNAPSHOT_EVERY_BYTES } from '../../controller/raft-driver.ts'
import type { RaftLog } from '../../controller/raft-log.ts'
import { idOf } from './fixtures.ts'
import { activeOf, batchOf, followNames, Hub, startLog, voter } from './quorum-fixtures.ts'

const open: RaftLog[] = []

async function start(...parameters: Parameters<typeof startLog>): Promise<RaftLog> {
  const log = await startLog(...parameters)
  open.push(log)
  return log
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((log) => log.close()))
})

describe('a quorum of one', () => {
  it('leads at once and commits in the order of the proposals', async () => {
    const log = await start(new Hub(), 1, { firstVoters: [voter(1)] })
    const names = followNames(log)
    await activeOf([log])
    expect(await Promise.all(['a', 'b', 'c'].map((name) => log.propose(batchOf(name))))).toEqual([0, 1, 2])
    expect(names.names).toEqual(['a', 'b', 'c'])
    await log.readBarrier()
  })

  it('has everything again after a restart, from a snapshot and the entries behind it', async () => {
    const store = new MemoryRaftStore()
    const log = await start(new Hub(), 1, { store, firstVoters: [voter(1)] })
    followNames(log)
    await activeOf([log])
    const wanted = Array.from({ length: SNAPSHOT_EVERY + 20 }, (_, at) => `n${at}`)
    for (const half of [wanted.slice(0, 500), wanted.slice(500, 1000)]) await Promise.all(half.map((name) => log.propose(batchOf(name))))
    for (let at = 1000; at < wanted.length; at += 1000)
      await Promise.all(wanted.slice(at, at + 1000).map((name) => log.propose(batchOf(name))))
    await log.close()
    expect((await store.load()).snapshot?.meta.index).toBeGreaterThan(SNAPSHOT_EVERY)
    const again = await start(new Hub(), 1, { store })
    const names = followNames(again)
    await activeOf([again])
    expect(names.names).toEqual(wanted)
    expect(await again.propose(batchOf('more'))).toBe(wanted.length)
  })
})

describe('a log of large batches', () => {
  it('is replaced by a snapshot after so many bytes, and keeps few of them', async () => {
    const store = new MemoryRaftStore()
    const log = await start(new Hub(), 1, { store, firstVoters: [voter(1)] })
    followNames(log)
    await activeOf([log])
    for (let at = 0; at < 40; at++) await log.propose(batchOf(`${at}`.padEnd(SNAPSHOT_EVERY_BYTES / 20, 'x')))
    const { snapshot, entries } = await store.load()
    expect(snapshot?.meta.index).toBeGreaterThan(20)
    expect(entries.length).toBeLessThan(35)
  })
})

describe('a quorum of three', () => {
  const three = [voter(1), voter(2), voter(3)]

  it('elects one of them, which commits, and the others follow', async () => {
    const hub = new Hub()
    const logs = await Promise.all([1, 2, 3].map((id) => start(hub, id, { firstVoters: three })))
    const followers = logs.map(followNames)
    const active = await activeOf(logs)
    await active.propose(batchOf('a'))
    await Promise.all(followers.map((names) => names.reaches(1)))
    for (const log of logs.filter((other) => other !== active))
      await expect(log.propose(batchOf('b'))).rejects.toMatchObject({ code: 'NOT_CONTROLLER', outcome: 'failed' })
  })

  it('goes on without its leader, and the leader follows when it is back', async () => {
    const hub = new Hub()
    const logs = await Promise.all([1, 2, 3].map((id) => start(hub, id, { firstVoters: three })))
    const followers = logs.map(followNames)
    const first = await activeOf(logs)
    await first.propose(batchOf('a'))
    const cutOff = logs.indexOf(first) + 1
    hub.cut.add(cutOff)
    const lost = first.propose(batchOf('lost'))
    const barrier = first.readBarrier()
    await Promise.all([
      expect(lost).rejects.toMatchObject({ code: 'NOT_CONTROLLER', outcome: 'indeterminate' }),
      expect(barrier).rejects.toMatchObject({ code: 'NOT_CONTROLLER' }),
    ])
    const second = await activeOf(logs.filter((log) => log !== first))
    await second.propose(batchOf('b'))
    await second.readBarrier()
    hub.cut.clear()
    await Promise.all(followers.map((names) => names.reaches(2)))
    expect(followers.map(({ names }) => names)).toEqual([
      ['a', 'b'],
      ['a', 'b'],
      ['a', 'b'],
    ])
  })

  it('lets a fourth in, which starts from a snapshot, and lets its leader go', async () => {
    const hub = new Hub()
    const logs = await Promise.all([1, 2, 3].map((id) => start(hub, id, { firstVoters: three })))
    logs.forEach(followNames)
    const active = await activeOf(logs)
    await active.propose(batchOf('a'))
    const joiner = await start(hub, 4, { contacts: three })
    const names = followNames(joiner)
    await active.changeMembers('addLearner', voter(4))
    await names.reaches(1)
    await active.changeMembers('addVoter', voter(4))
    await active.changeMembers('remove', voter(logs.indexOf(active) + 1))
    const rest = [...logs.filter((log) => log !== active), joiner]
    const next = await activeOf(rest)
    expect(next.status.confState.voters).toHaveLength(3)
    await next.propose(batchOf('b'))
    await names.reaches(2)
  })

  it('R-id tells a voter that lost its disk that it is not the one that voted', async () => {
    const hub = new Hub()
    const stores = [1, 2, 3].map(() => new MemoryRaftStore())
    const logs = await Promise.all(stores.map((store, at) => start(hub, at + 1, { store, firstVoters: three })))
    logs.forEach(followNames)
    const active = await activeOf(logs)
    await active.propose(batchOf('a'))
    const wipedId = ((logs.indexOf(active) + 1) % 3) + 1
    await logs[wipedId - 1]?.close()
    const wiped = await start(hub, wipedId, { firstVoters: three, directoryId: idOf(9) })
    await active.propose(batchOf('b'))
    expect(await wiped.failed).toMatchObject({ code: 'DATA_DIR_INVALID' })
  })

  it('R-id gives a voter that was removed and comes back with an empty disk no vote before it lets it in again', async () => {
    const hub = new Hub()
    const logs = await Promise.all([1, 2, 3].map((id) => start(hub, id, { firstVoters: three })))
    logs.forEach(followNames)
    const active = await activeOf(logs)
    await active.propose(batchOf('a'))
    const [blankId, otherId] = [1, 2, 3].filter((id) => logs[id - 1] !== active) as [number, number]
    await logs[blankId - 1]?.close()
    await active.changeMembers('remove', voter(blankId))
    const blank = await start(hub, blankId, { contacts: three, directoryId: idOf(9) })
    const names = followNames(blank)
    // Under its old name it would make a majority with the leader, which is alone now.
    hub.cut.add(otherId)
    await expect(active.propose(batchOf('lost'))).rejects.toMatchObject({ code: 'NOT_CONTROLLER', outcome: 'indeterminate' })
    hub.cut.clear()
    const next = await activeOf(logs.filter((_, at) => at !== blankId - 1))
    for (const kind of ['addLearner', 'addVoter'] as const) await next.changeMembers(kind, voter(blankId, idOf(9)))
    hub.cut.add(next === active ? otherId : logs.indexOf(active) + 1)
    await next.propose(batchOf('b'))
    // What was lost may have been found again.
    for (let count = 2; names.names.at(-1) !== 'b'; count++) await names.reaches(count)
  })
})
