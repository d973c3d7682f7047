/** What every implementation of `Files` must do; run over the real and the memory files. */
import { describe, expect, it } from 'vitest'
import type { Files } from '../../runtime/runtime.ts'

/** `create` gives files and an empty directory in them. */
export function describeFiles(name: string, create: () => Promise<{ readonly files: Files; readonly directory: string }>): void {
  describe(`${name} as Files`, () => {
    it('writes several buffers back to back at a position and reads them again', async () => {
      const { files, directory } = await create()
      const handle = await files.open(`${directory}/a`, 'create')
      await handle.write([Buffer.from('one'), Buffer.alloc(0), Buffer.from('two')], 2)
      const buffer = Buffer.alloc(10, '.')
      expect(await handle.read(buffer, 1, 8, 0)).toBe(8)
      expect(buffer.toString('latin1')).toBe('.\0\0onetwo.')
      expect((await handle.stat()).sizeBytes).toBe(8)
      await handle.close()
    })

    it('writes more buffers than one system call takes', async () => {
      const { files, directory } = await create()
      const handle = await files.open(`${directory}/a`, 'create')
      const buffers = Array.from({ length: 3000 }, (_, index) => Buffer.from([index & 0xff, index >> 8]))
      await handle.write(buffers, 0)
      const back = Buffer.alloc(6000)
      expect(await handle.read(back, 0, 6000, 0)).toBe(6000)
      expect(back.equals(Buffer.concat(buffers))).toBe(true)
      await handle.close()
    })

    it('reads less than asked for only at the end of the file', async () => {
      const { files, directory } = await create()
      const handle = await files.open(`${directory}/a`, 'create')
      await handle.write([Buffer.from('abc')], 0)
      expect(await handle.read(Buffer.alloc(8), 0, 8, 1)).toBe(2)
      expect(await handle.read(Buffer.alloc(8), 0, 8, 3)).toBe(0)
      expect(await handle.read(Buffer.alloc(8), 0, 8, 100)).toBe(0)
      await handle.close()
    })

    it('cuts and grows a file, the new part zeros', async () => {
      const { files, directory } = await create()
      const handle = await files.open(`${directory}/a`, 'create')
      await handle.write([Buffer.from('abcdef')], 0)
      await handle.truncate(2)
      await handle.truncate(4)
      const back = Buffer.alloc(4, 1)
      expect(await handle.read(back, 0, 4, 0)).toBe(4)
      expect([...back]).toEqual([97, 98, 0, 0])
      await handle.datasync()
      await handle.close()
    })

    it('opens what is there or says ENOENT, and creates only when told', async () => {
      const { files, directory } = await create()
      await expect(files.open(`${directory}/a`, 'read')).rejects.toMatchObject({ code: 'ENOENT' })
      await expect(files.open(`${directory}/a`, 'readWrite')).rejects.toMatchObject({ code: 'ENOENT' })
      await expect(files.open(`${directory}/none/a`, 'create')).rejects.toMatchObject({ code: 'ENOENT' })
      const first = await files.open(`${directory}/a`, 'create')
      await first.write([Buffer.from('kept')], 0)
      await first.close()
      const second = await files.open(`${directory}/a`, 'create')
      expect((await second.stat()).sizeBytes).toBe(4)
      await second.close()
    })

    it('refuses to write through a handle opened for reading, and any call after close', async () => {
      const { files, directory } = await create()
      await (await files.open(`${directory}/a`, 'create')).close()
      const handle = await files.open(`${directory}/a`, 'read')
      await expect(handle.write([Buffer.from('x')], 0)).rejects.toMatchObject({ code: 'EBADF' })
      await handle.close()
      await expect(handle.read(Buffer.alloc(1), 0, 1, 0)).rejects.toMatchObject({ code: 'EBADF' })
      await expect(handle.datasync()).rejects.toMatchObject({ code: 'EBADF' })
    })

    it('lists names and tells files from directories', async () => {
      const { files, directory } = await create()
      await files.makeDirectory(`${directory}/sub/deeper`)
      await files.makeDirectory(`${directory}/sub/deeper`)
      await (await files.open(`${directory}/a`, 'create')).close()
      expect((await files.list(directory)).sort()).toEqual(['a', 'sub'])
      expect(await files.stat(`${directory}/a`)).toMatchObject({ isDirectory: false, sizeBytes: 0 })
      expect(await files.stat(`${directory}/sub`)).toMatchObject({ isDirectory: true })
      expect(await files.stat(`${directory}/none`)).toBeUndefined()
      await expect(files.list(`${directory}/none`)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    it('replaces the target of a rename, and a handle stays with its file', async () => {
      const { files, directory } = await create()
      for (const [name, content] of [
        ['a', 'new'],
        ['b', 'old'],
      ] as const) {
        const handle = await files.open(`${directory}/${name}`, 'create')
        await handle.write([Buffer.from(content)], 0)
        await handle.close()
      }
      const held = await files.open(`${directory}/b`, 'read')
      await files.rename(`${directory}/a`, `${directory}/b`)
      await files.syncDirectory(directory)
      const old = Buffer.alloc(3)
      await held.read(old, 0, 3, 0)
      expect(old.toString()).toBe('old')
      await held.close()
      const handle = await files.open(`${directory}/b`, 'read')
      const back = Buffer.alloc(3)
      await handle.read(back, 0, 3, 0)
      expect(back.toString()).toBe('new')
      await handle.close()
      await expect(files.rename(`${directory}/a`, `${directory}/c`)).rejects.toMatchObject({ code: 'ENOENT' })
    })

    it('renames a directory with what it holds', async () => {
      const { files, directory } = await create()
      await files.makeDirectory(`${directory}/from`)
      await (await files.open(`${directory}/from/a`, 'create')).close()
      await files.rename(`${directory}/from`, `${directory}/to`)
      expect(await files.list(`${directory}/to`)).toEqual(['a'])
      expect(await files.stat(`${directory}/from`)).toBeUndefined()
    })

    it('removes files and trees, also absent ones', async () => {
      const { files, directory } = await create()
      await files.makeDirectory(`${directory}/sub/deeper`)
      await (await files.open(`${directory}/a`, 'create')).close()
      await files.remove(`${directory}/a`)
      await files.remove(`${directory}/a`)
      await files.removeTree(`${directory}/sub`)
      await files.removeTree(`${directory}/sub`)
      expect(await files.list(directory)).toEqual([])
    })

    it('says how many bytes are free', async () => {
      const { files, directory } = await create()
      expect(await files.freeBytes(directory)).toBeGreaterThan(0)
    })

    it('gives a lock to one holder at a time', async () => {
      const { files, directory } = await create()
      const lock = await files.lock(`${directory}/lock`)
      await expect(files.lock(`${directory}/lock`)).rejects.toMatchObject({ code: 'ELOCKED' })
      await lock.release()
      await lock.release()
      const again = await files.lock(`${directory}/lock`)
      await again.release()
    })
  })
}
