/** What every `MetadataStore` must do; run over the one on disk and the one in memory. */
import { describe, expect, it } from 'vitest'
import type { MetadataStore } from '../../controller/metadata-store.ts'

/** `create` gives a way to open one and the same store, again and again; empty at first. */
export function describeMetadataStore(name: string, create: () => Promise<() => Promise<MetadataStore>>): void {
  async function loaded(open: () => Promise<MetadataStore>): Promise<MetadataStore> {
    const store = await open()
    await store.load()
    return store
  }

  async function entriesOf(open: () => Promise<MetadataStore>): Promise<string[]> {
    const store = await open()
    const entries = await store.load()
    await store.close()
    return entries.map(String)
  }

  describe(`${name} as MetadataStore`, () => {
    it('is empty when new', async () => {
      expect(await entriesOf(await create())).toEqual([])
    })

    it('gives back what was appended, in order, after it was closed and opened again', async () => {
      const open = await create()
      const store = await loaded(open)
      await store.append(0, [Buffer.from('zero'), Buffer.from('one')])
      await store.append(2, [Buffer.from('two')])
      await store.close()
      const again = await loaded(open)
      await again.append(3, [Buffer.from('three')])
      await again.close()
      expect(await entriesOf(open)).toEqual(['zero', 'one', 'two', 'three'])
    })

    it('keeps entries of no bytes and of a megabyte', async () => {
      const open = await create()
      const store = await loaded(open)
      await store.append(0, [Buffer.alloc(0), Buffer.alloc(1024 * 1024, 7), Buffer.alloc(0)])
      await store.close()
      const again = await open()
      const entries = await again.load()
      await again.close()
      expect(entries.map((entry) => entry.length)).toEqual([0, 1024 * 1024, 0])
      expect(entries[1]?.every((byte) => byte === 7)).toBe(true)
    })

    it('keeps more than sixteen entries in the order of their offsets', async () => {
      const open = await create()
      const store = await loaded(open)
      for (let offset = 0; offset < 300; offset += 100) {
        await store.append(
          offset,
          Array.from({ length: 100 }, (_, index) => Buffer.from(`${offset + index}`)),
        )
      }
      await store.close()
      expect(await entriesOf(open)).toEqual(Array.from({ length: 300 }, (_, index) => `${index}`))
    })

    it('does not keep the buffers it was given', async () => {
      const open = await create()
      const store = await loaded(open)
      const entry = Buffer.from('before')
      await store.append(0, [entry])
      entry.write('after!')
      await store.close()
      expect(await entriesOf(open)).toEqual(['before'])
    })

    it('refuses entries that do not follow on the last', async () => {
      const open = await create()
      const store = await loaded(open)
      await store.append(0, [Buffer.from('zero')])
      await expect(store.append(2, [Buffer.from('two')])).rejects.toThrow('entries are added at the end')
      await expect(store.append(0, [Buffer.from('zero')])).rejects.toThrow('entries are added at the end')
      await store.close()
      expect(await entriesOf(open)).toEqual(['zero'])
    })

    it('loads the same entries twice', async () => {
      const open = await create()
      const store = await loaded(open)
      await store.append(0, [Buffer.from('zero'), Buffer.from('one')])
      expect((await store.load()).map(String)).toEqual(['zero', 'one'])
      expect((await store.load()).map(String)).toEqual(['zero', 'one'])
      await store.append(2, [Buffer.from('two')])
      await store.close()
      expect(await entriesOf(open)).toEqual(['zero', 'one', 'two'])
    })

    it('may be closed twice', async () => {
      const store = await loaded(await create())
      await store.close()
      await store.close()
    })
  })
}
