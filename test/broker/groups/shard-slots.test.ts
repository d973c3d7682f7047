import { describe, expect, it } from 'vitest'
import type { GroupLog } from '../../../broker/groups/group-log.ts'
import { encodeRecord } from '../../../broker/groups/group-records.ts'
import type { GroupShard } from '../../../broker/groups/group-shard.ts'
import { ShardSlots } from '../../../broker/groups/shard-slots.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import { silentLog } from '../../../runtime/node.ts'
import { createDeferred, type Deferred } from '../../../runtime/deferred.ts'
import { VirtualTime } from '../../sim/virtual-time.ts'

/** A log that is read as fast as the test wants. */
class HeldLog implements GroupLog {
  readonly read: Deferred<void> = createDeferred<void>()
  readonly epoch: number
  isOver: () => boolean = () => false
  onCommitted: ((error: TidemarkError | undefined) => void) | undefined

  constructor(epoch: number) {
    this.epoch = epoch
  }

  append(): number {
    return 2
  }

  whenCommitted(_offset: number, reached: (error: TidemarkError | undefined) => void): void {
    this.onCommitted = reached
  }

  async replay(apply: (key: Buffer | null, value: Buffer | null) => void, isOver: () => boolean): Promise<void> {
    this.isOver = isOver
    await this.read.promise
    // Each epoch finds another group.
    const { key, value } = encodeRecord({ kind: 'group', group: `g${this.epoch}`, value: { epoch: this.epoch, emptySinceMs: 1 } })
    apply(key, value)
  }
}

function setUp() {
  const time = new VirtualTime()
  const partition = { partition: 3, isLeader: true, isRetired: false, leaderEpoch: 1 }
  const logs: HeldLog[] = []
  const activated: GroupShard[] = []
  const slots = new ShardSlots({
    runtime: { clock: time, timers: time, log: silentLog },
    partitions: () => [partition],
    openLog: () => {
      const log = new HeldLog(partition.leaderEpoch)
      logs.push(log)
      return log
    },
    graceMs: () => 0,
    opened: () => {},
    activated: async (shard) => void activated.push(shard),
  })
  return { time, partition, logs, activated, slots }
}

const idsOf = (shard: GroupShard | undefined): string[] => [...(shard?.groups.keys() ?? [])]

describe('the shards of a node', () => {
  it('are opened for what it leads, and can be worked on when their log is read', async () => {
    const { slots, logs, time } = setUp()
    const shard = slots.find(3)
    expect(() => shard?.checkActive()).toThrow(expect.objectContaining({ code: 'COORDINATOR_LOAD_IN_PROGRESS', retriable: true }))
    expect(slots.loading()).toEqual([3])
    logs[0]?.read.resolve()
    await time.advance(0)
    expect(slots.active()).toEqual([shard])
    expect(idsOf(shard)).toEqual(['g1'])
    expect(slots.find(9)).toBeUndefined()
  })

  it('know what the newest leadership read, though an older one is read later (K42)', async () => {
    const { slots, logs, partition, activated, time } = setUp()
    slots.review()
    const first = slots.find(3)
    // Two notifications in a row: each is a leadership of its own.
    partition.leaderEpoch = 2
    slots.review()
    partition.leaderEpoch = 3
    slots.review()
    expect(logs.map(({ epoch }) => epoch)).toEqual([1, 2, 3])
    expect(logs.map(({ isOver }) => isOver())).toEqual([true, true, false])
    logs[2]?.read.resolve()
    await time.advance(0)
    const present = slots.find(3)
    expect(idsOf(present)).toEqual(['g3'])
    // What the earlier ones still read goes nowhere.
    logs[0]?.read.resolve()
    logs[1]?.read.resolve()
    await time.advance(0)
    expect(slots.find(3)).toBe(present)
    expect(idsOf(present)).toEqual(['g3'])
    expect(activated).toEqual([present])
    expect(() => first?.checkActive()).toThrow(expect.objectContaining({ code: 'NOT_COORDINATOR' }))
  })

  it('are dropped when leadership goes, with whoever waits', async () => {
    const { slots, logs, partition, time } = setUp()
    const shard = slots.find(3) as GroupShard
    logs[0]?.read.resolve()
    await time.advance(0)
    const change = shard.change('g1', ({ state }) => ({
      records: [{ kind: 'group', group: state.group, value: { epoch: 2, emptySinceMs: 1 } }],
      answer: () => state.epoch,
    }))
    partition.isLeader = false
    expect(slots.find(3)).toBeUndefined()
    logs[0]?.onCommitted?.(new TidemarkError('NOT_LEADER'))
    await expect(change).rejects.toMatchObject({ code: 'NOT_COORDINATOR' })
    await expect(shard.change('g1', () => ({ records: [], answer: () => 1 }))).rejects.toMatchObject({ code: 'NOT_COORDINATOR' })
    expect(slots.isEmpty).toBe(true)
  })

  it('are read again when a write was taken back, and not when nobody knows yet whether it is committed', async () => {
    const { slots, logs, time } = setUp()
    const shard = slots.find(3) as GroupShard
    logs[0]?.read.resolve()
    await time.advance(0)
    const write = (): Promise<number> =>
      shard.change('g1', ({ state }) => ({
        records: [{ kind: 'group', group: state.group, value: { epoch: state.epoch + 1, emptySinceMs: 1 } }],
        answer: () => state.epoch,
      }))
    const slow = write()
    logs[0]?.onCommitted?.(new TidemarkError('REQUEST_TIMED_OUT'))
    await expect(slow).rejects.toMatchObject({ code: 'REQUEST_TIMED_OUT' })
    expect(shard.isActive).toBe(true)
    expect(shard.groups.get('g1')?.state.epoch).toBe(2)
    const undone = write()
    logs[0]?.onCommitted?.(new TidemarkError('DISK_FULL'))
    await expect(undone).rejects.toMatchObject({ code: 'COORDINATOR_LOAD_IN_PROGRESS' })
    expect(shard.isActive).toBe(false)
    slots.review()
    expect(slots.find(3)).not.toBe(shard)
    logs[1]?.read.resolve()
    await time.advance(0)
    // As it is in the log.
    expect(slots.find(3)?.groups.get('g1')?.state.epoch).toBe(1)
  })

  it('are read again after a while when the log could not be read', async () => {
    const { slots, logs, time } = setUp()
    const shard = slots.find(3)
    logs[0]?.read.reject(new TidemarkError('CORRUPT_LOG'))
    await time.advance(0)
    expect(() => shard?.checkActive()).toThrow(expect.objectContaining({ code: 'COORDINATOR_LOAD_IN_PROGRESS' }))
    slots.review()
    expect(logs).toHaveLength(1)
    await time.advance(1000)
    slots.review()
    expect(logs).toHaveLength(2)
    logs[1]?.read.resolve()
    await time.advance(0)
    expect(idsOf(slots.find(3))).toEqual(['g1'])
  })

  it('are all closed in the end, and none is opened after that', async () => {
    const { slots, logs, time } = setUp()
    const shard = slots.find(3)
    logs[0]?.read.resolve()
    await time.advance(0)
    slots.close(new TidemarkError('SHUTTING_DOWN'))
    expect(() => shard?.checkActive()).toThrow(expect.objectContaining({ code: 'SHUTTING_DOWN' }))
    expect(slots.find(3)).toBeUndefined()
    expect(logs).toHaveLength(1)
  })
})
