import { describe, expect, it } from 'vitest'
import { FilePool } from '../../log/file-pool.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'

async function createPool(openMax: number) {
  const files = new MemoryFiles()
  await files.makeDirectory('/d')
  let fullCount = 0
  const pool = new FilePool(files, openMax, () => fullCount++)
  return { files, pool, fullCount: () => fullCount }
}

describe('the pool of open files', () => {
  it('opens a file once for all who use it and keeps it open', async () => {
    const { files, pool } = await createPool(2)
    const [first, second] = await Promise.all([pool.lease('/d/a', 'create'), pool.lease('/d/a', 'create')])
    expect(first.handle).toBe(second.handle)
    first.release()
    second.release()
    expect((await pool.lease('/d/a')).handle).toBe(first.handle)
    expect(files.counts.get('open')).toBe(1)
  })

  it('closes the file that was not used for longest when it needs the place, never a leased one', async () => {
    const { files, pool } = await createPool(2)
    const held = await pool.lease('/d/a', 'create')
    for (const name of ['b', 'c', 'd']) (await pool.lease(`/d/${name}`, 'create')).release()
    await new Promise(setImmediate)
    expect(files.openHandleCount).toBe(2)
    await held.handle.write([Buffer.from('x')], 0)
    held.release()
  })

  it('makes the next wait when all are leased, says so, and serves in order', async () => {
    const { pool, fullCount } = await createPool(1)
    const held = await pool.lease('/d/a', 'create')
    const served: string[] = []
    const waiting = ['b', 'c'].map(async (name) => {
      const lease = await pool.lease(`/d/${name}`, 'create')
      served.push(name)
      lease.release()
    })
    await new Promise(setImmediate)
    expect([served, fullCount()]).toEqual([[], 1])
    held.release()
    await Promise.all(waiting)
    expect(served).toEqual(['b', 'c'])
  })

  it('does not strand those in line when one of them finds its file open', async () => {
    const { pool } = await createPool(1)
    const held = await pool.lease('/d/a', 'create')
    const leases = ['b', 'b', 'c', 'b', 'c'].map(async (name) => (await pool.lease(`/d/${name}`, 'create')).release())
    await new Promise(setImmediate)
    held.release()
    await Promise.all(leases)
  })

  it('gives the place back when a file cannot be opened', async () => {
    const { files, pool } = await createPool(1)
    files.inject({ operation: 'open', code: 'EMFILE', times: 1 })
    const [failed, next] = await Promise.allSettled([pool.lease('/d/a', 'create'), pool.lease('/d/b', 'create')])
    expect([failed.status, next.status]).toEqual(['rejected', 'fulfilled'])
    expect(pool.openCount).toBe(1)
  })

  it('closes a forgotten file when its last lease ends', async () => {
    const { files, pool } = await createPool(4)
    const lease = await pool.lease('/d/a', 'create')
    pool.forget('/d/a')
    await lease.handle.read(Buffer.alloc(1), 0, 1, 0)
    lease.release()
    await pool.close()
    expect(files.openHandleCount).toBe(0)
  })

  it('notices a lease released twice', async () => {
    const { pool } = await createPool(4)
    const lease = await pool.lease('/d/a', 'create')
    lease.release()
    expect(() => lease.release()).toThrow('a lease is released once')
  })
})
