import { describe, expect, it } from 'vitest'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { describeFiles } from '../conformance/files.ts'

describeFiles('memory files', async () => {
  const files = new MemoryFiles()
  await files.makeDirectory('/data')
  return { files, directory: '/data' }
})

async function contentOf(files: MemoryFiles, path: string): Promise<string> {
  const handle = await files.open(path, 'read')
  const buffer = Buffer.alloc((await handle.stat()).sizeBytes)
  await handle.read(buffer, 0, buffer.length, 0)
  await handle.close()
  return buffer.toString('latin1')
}

async function withFile(path: string, content: string): Promise<MemoryFiles> {
  const files = new MemoryFiles()
  await files.makeDirectory('/d')
  await files.syncDirectory('/')
  const handle = await files.open(path, 'create')
  await handle.write([Buffer.from(content)], 0)
  await handle.datasync()
  await handle.close()
  await files.syncDirectory('/d')
  return files
}

describe('memory files', () => {
  it('lose in a crash the bytes that were not synced, also overwritten and cut ones', async () => {
    const files = await withFile('/d/a', 'abcdef')
    const handle = await files.open('/d/a', 'readWrite')
    await handle.write([Buffer.from('XY')], 1)
    await handle.truncate(3)
    await handle.write([Buffer.from('tail')], 3)
    expect(await contentOf(files, '/d/a')).toBe('aXYtail')
    expect(await contentOf(files.crash(), '/d/a')).toBe('abcdef')
  })

  it('keep in a crash what was synced', async () => {
    const files = await withFile('/d/a', 'abc')
    const handle = await files.open('/d/a', 'readWrite')
    await handle.write([Buffer.from('def')], 3)
    await handle.datasync()
    await handle.write([Buffer.from('ghi')], 6)
    expect(await contentOf(files.crash(), '/d/a')).toBe('abcdef')
  })

  it('do not let a sync cover a write that had not settled when it began', async () => {
    const files = await withFile('/d/a', 'abc')
    const handle = await files.open('/d/a', 'readWrite')
    const writing = handle.write([Buffer.from('def')], 3)
    await Promise.all([handle.datasync(), writing])
    expect(await contentOf(files.crash(), '/d/a')).toBe('abc')
  })

  it('lose in a crash the names that were not synced, and undo renames and removals', async () => {
    const files = await withFile('/d/a', 'abc')
    await (await files.open('/d/new', 'create')).close()
    await files.rename('/d/a', '/d/b')
    expect((await files.list('/d')).sort()).toEqual(['b', 'new'])
    expect(await files.crash().list('/d')).toEqual(['a'])
  })

  it('keep everything when only the process dies, and still lose it when the power goes after that', async () => {
    const files = await withFile('/d/a', 'abc')
    const handle = await files.open('/d/a', 'readWrite')
    await handle.write([Buffer.from('def')], 3)
    const next = files.kill()
    expect(await contentOf(next, '/d/a')).toBe('abcdef')
    expect(await contentOf(next.crash(), '/d/a')).toBe('abc')
  })

  it('are copied as they are, and go on by themselves', async () => {
    const files = await withFile('/d/a', 'abc')
    const handle = await files.open('/d/a', 'readWrite')
    await handle.write([Buffer.from('def')], 3)
    const copy = files.copy()
    await handle.write([Buffer.from('ghi')], 6)
    expect(await contentOf(copy.crash(), '/d/a')).toBe('abcdef')
    expect(await contentOf(files, '/d/a')).toBe('abcdefghi')
  })

  it('may keep some sectors of an unsynced write and not others', async () => {
    const files = await withFile('/d/a', '')
    const handle = await files.open('/d/a', 'readWrite')
    await handle.write([Buffer.alloc(1536, 'x')], 0)
    const answers = [true, true, true, false, true]
    const content = await contentOf(
      files.crash(() => answers.shift() ?? false),
      '/d/a',
    )
    expect(content).toBe('x'.repeat(512) + '\0'.repeat(512) + 'x'.repeat(512))
  })

  it('may have lost a truncation and kept what was written before it', async () => {
    const files = await withFile('/d/a', '')
    const handle = await files.open('/d/a', 'readWrite')
    await handle.write([Buffer.alloc(1024, 'x')], 0)
    await handle.truncate(100)
    // Two directories, two sectors, and not the truncation.
    const answers = [true, true, true, true, false]
    const isKept = (): boolean => answers.shift() ?? false
    expect(await contentOf(files.crash(isKept), '/d/a')).toBe('x'.repeat(1024))
  })

  it('give up what a sync failed on: no later one makes it durable', async () => {
    const files = await withFile('/d/a', 'abc')
    const handle = await files.open('/d/a', 'readWrite')
    await handle.write([Buffer.from('def')], 3)
    files.inject({ operation: 'datasync', code: 'EIO' })
    await expect(handle.datasync()).rejects.toMatchObject({ code: 'EIO' })
    await handle.datasync()
    expect(await contentOf(files, '/d/a')).toBe('abcdef')
    expect(await contentOf(files.crash(), '/d/a')).toBe('abc')
  })

  it('take the first part of a write that does not fit, and say ENOSPC', async () => {
    const files = await withFile('/d/a', 'abc')
    files.capacityBytes = 5
    const handle = await files.open('/d/a', 'readWrite')
    await expect(handle.write([Buffer.from('defg')], 3)).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(await contentOf(files, '/d/a')).toBe('abcde')
    expect(await files.freeBytes('/d')).toBe(0)
    await handle.write([Buffer.from('ABC')], 0)
  })

  it('fail the calls they are told to fail', async () => {
    const files = await withFile('/d/a', 'abc')
    files.inject({ operation: 'datasync', code: 'EIO', pathEnd: '/a', after: 1 })
    files.inject({ operation: 'write', code: 'EIO', tornBytes: 2 })
    const handle = await files.open('/d/a', 'readWrite')
    await handle.datasync()
    await expect(handle.datasync()).rejects.toMatchObject({ code: 'EIO' })
    await handle.datasync()
    await expect(handle.write([Buffer.from('XYZ')], 0)).rejects.toMatchObject({ code: 'EIO' })
    expect(await contentOf(files, '/d/a')).toBe('XYc')
  })
})
