import { describe, expect, it } from 'vitest'
import type { LogFollower } from '../../controller/metadata-log.ts'
import { MemoryStore } from './memory-store.ts'
import { BATCH_BYTES_MAX, openSingleVoterLog, PROPOSALS_MAX } from './single-voter-log.ts'
import type { MetadataBatch } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { HeldStore } from './fixtures.ts'

/** A batch that can be told from others. */
function batchOf(name: string): MetadataBatch {
  return { records: [{ record: { $case: 'topic', value: { name, topicId: '', internal: false } } }] }
}

function nameOf(batch: MetadataBatch): string {
  const record = batch.records[0]?.record
  return record?.$case === 'topic' ? record.value.name : ''
}

function collect() {
  const seen: string[] = []
  return { seen, apply: (offset: number, batch: MetadataBatch): void => void seen.push(`${offset}:${nameOf(batch)}`) }
}

function follower(apply: LogFollower['apply']): LogFollower {
  return {
    apply,
    load() {
      throw new Error('there are no snapshots')
    },
  }
}

describe('SingleVoterLog', () => {
  it('commits in the order of the proposals and resolves with their offsets', async () => {
    const log = await openSingleVoterLog(new MemoryStore())
    expect(log.committedOffset).toBe(-1)
    expect(await Promise.all(['a', 'b', 'c'].map((name) => log.propose(batchOf(name))))).toEqual([0, 1, 2])
    expect(log.committedOffset).toBe(2)
    await log.close()
  })

  it('takes a proposal made at the very moment another one resolves', async () => {
    const log = await openSingleVoterLog(new MemoryStore())
    const second = log.propose(batchOf('a')).then(() => log.propose(batchOf('b')))
    const third = log.propose(batchOf('c')).then(() => log.propose(batchOf('d')))
    expect(new Set(await Promise.all([second, third]))).toEqual(new Set([2, 3]))
    await log.close()
  })

  it('delivers a batch to every follower before the proposal resolves', async () => {
    const log = await openSingleVoterLog(new MemoryStore())
    const [one, two] = [collect(), collect()]
    log.follow(0, follower(one.apply))
    log.follow(0, follower(two.apply))
    await log.propose(batchOf('a'))
    expect([one.seen, two.seen]).toEqual([['0:a'], ['0:a']])
    await log.close()
  })

  it('delivers history first, from the offset asked for, then what comes', async () => {
    const store = new MemoryStore()
    const first = await openSingleVoterLog(store)
    for (const name of ['a', 'b', 'c']) await first.propose(batchOf(name))
    await first.close()
    const log = await openSingleVoterLog(store)
    const { seen, apply } = collect()
    log.follow(1, follower(apply))
    expect(seen).toEqual(['1:b', '2:c'])
    await log.propose(batchOf('d'))
    expect(seen).toEqual(['1:b', '2:c', '3:d'])
    await log.close()
  })

  it('delivers a batch once to a follower that begins while it is being delivered', async () => {
    const log = await openSingleVoterLog(new MemoryStore())
    const late = collect()
    let isFirst = true
    log.follow(
      0,
      follower(() => {
        if (isFirst) log.follow(0, follower(late.apply))
        isFirst = false
      }),
    )
    await log.propose(batchOf('a'))
    await log.propose(batchOf('b'))
    expect(late.seen).toEqual(['0:a', '1:b'])
    await log.close()
  })

  it('delivers nothing to who stopped following, even during a delivery', async () => {
    const log = await openSingleVoterLog(new MemoryStore())
    const { seen, apply } = collect()
    log.follow(
      0,
      follower(() => stop()),
    )
    const stop = log.follow(0, follower(apply))
    await log.propose(batchOf('a'))
    stop()
    expect(seen).toEqual([])
    await log.close()
  })

  it('writes all proposals that wait in one go', async () => {
    const store = new HeldStore()
    const log = await openSingleVoterLog(store)
    store.hold()
    const proposals = ['a', 'b', 'c', 'd'].map((name) => log.propose(batchOf(name)))
    store.release()
    expect(await Promise.all(proposals)).toEqual([0, 1, 2, 3])
    expect(store.appends).toEqual([1, 3])
    await log.close()
  })

  it('refuses a batch that is too large, naming both sizes, and goes on', async () => {
    const log = await openSingleVoterLog(new MemoryStore())
    const error = await log.propose(batchOf('x'.repeat(BATCH_BYTES_MAX))).catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: 'LIMIT_EXCEEDED', message: expect.stringContaining(`${BATCH_BYTES_MAX}`) })
    expect(await log.propose(batchOf('a'))).toBe(0)
    await log.close()
  })

  it('refuses proposals beyond its queue', async () => {
    const store = new HeldStore()
    const log = await openSingleVoterLog(store)
    store.hold()
    const waiting = Array.from({ length: PROPOSALS_MAX + 1 }, () => log.propose(batchOf('a')))
    await expect(log.propose(batchOf('b'))).rejects.toMatchObject({ code: 'BUSY', retryAfterMs: expect.any(Number) })
    store.release()
    expect(await Promise.all(waiting)).toHaveLength(PROPOSALS_MAX + 1)
    await log.close()
  })

  it('fails for good when the store does: what was being written is indeterminate, the rest was not written', async () => {
    const store = new HeldStore()
    const log = await openSingleVoterLog(store)
    store.hold()
    const outcomes = ['a', 'b'].map((name) => log.propose(batchOf(name)).catch((error: unknown) => error))
    store.failure = Object.assign(new Error('the disk is gone'), { code: 'EIO' })
    store.release()
    const [first, second] = await Promise.all(outcomes)
    expect(first).toMatchObject({ code: 'STORAGE_FAILED', outcome: 'indeterminate', cause: store.failure })
    expect(second).toMatchObject({ code: 'STORAGE_FAILED', outcome: 'failed' })
    store.failure = undefined
    await expect(log.propose(batchOf('c'))).rejects.toMatchObject({ code: 'STORAGE_FAILED', outcome: 'failed' })
    expect(store.appends).toEqual([1])
    expect((await log.failed).message).toContain('the disk is gone')
    await log.close()
  })

  it('fails for good, and leaves nobody waiting, when a follower cannot apply a batch', async () => {
    const log = await openSingleVoterLog(new MemoryStore())
    log.follow(
      0,
      follower(() => {
        throw new Error('cannot follow')
      }),
    )
    await expect(log.propose(batchOf('a'))).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      message: expect.stringContaining('cannot follow'),
    })
    expect((await log.failed).message).toContain('cannot follow')
    await expect(log.propose(batchOf('b'))).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
    await log.close()
  })

  it('finishes what it has in hand when closed, refuses what comes after, closes its store once', async () => {
    const store = new HeldStore()
    const log = await openSingleVoterLog(store)
    store.hold()
    const inHand = Promise.all(['a', 'b'].map((name) => log.propose(batchOf(name))))
    const closing = Promise.all([log.close(), log.close()])
    await expect(log.propose(batchOf('c'))).rejects.toMatchObject({ code: 'SHUTTING_DOWN' })
    expect(store.closeCount).toBe(0)
    store.release()
    expect(await inHand).toEqual([0, 1])
    await closing
    expect(store.closeCount).toBe(1)
  })

  it('closes the store when it cannot be loaded', async () => {
    const store = new HeldStore()
    store.load = async () => {
      throw new Error('unreadable')
    }
    await expect(openSingleVoterLog(store)).rejects.toThrow('unreadable')
    expect(store.closeCount).toBe(1)
  })
})
