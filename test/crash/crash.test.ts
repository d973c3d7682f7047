/** The power goes at any call to the disk, and leaves any state that it may. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { imagesOf } from './images.ts'
import { runCrashes } from './run.ts'

/** No test depends on speed: this is for a machine that does much else. */
const PATIENCE_MS = 3_600_000

describe('a log at work', () => {
  it(
    'loses nothing that was acknowledged, has nothing that was not written, and is sound, in 20,000 states that a crash may leave',
    () => {
      // A planted mistake is planted in that process, too.
      const plant = join(import.meta.dirname, '../sim/mutants/plant.ts')
      const args = ['--import', plant, join(import.meta.dirname, 'main.ts'), '--images', '20000', '--first-failure']
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
      console.log(stdout.trim())
      expect(stderr).not.toMatch(/^seed/m)
      expect(status).toBe(0)
    },
    PATIENCE_MS,
  )
})

describe('what crashes have found before', () => {
  it('seed 1008: an index that is begun after the log was cut is there as a whole or not at all', async () => {
    expect((await runCrashes({ seed: 1008 })).failure).toBeUndefined()
  })
})

describe('the images of a moment', () => {
  const files = async (): Promise<MemoryFiles> => {
    const made = new MemoryFiles()
    await made.makeDirectory('/d')
    await made.syncDirectory('/')
    const handle = await made.open('/d/a', 'create')
    await handle.write([Buffer.alloc(1024, 'x')], 0)
    return made
  }
  const textOf = async (image: MemoryFiles): Promise<string> => {
    if ((await image.stat('/d/a')) === undefined) return 'no file'
    const handle = await image.open('/d/a', 'read')
    const content = Buffer.alloc((await handle.stat()).sizeBytes)
    await handle.read(content, 0, content.length, 0)
    return content
      .toString('latin1')
      .replaceAll(/\0+/g, '0')
      .replaceAll(/x+/g, (part) => `x${part.length}`)
  }

  it('are all there are: without the name, without bytes, without the end, with a hole, with a size alone', async () => {
    const images = [...imagesOf(await files(), 100, Math.random)]
    const texts = await Promise.all(images.map(({ files: image }) => textOf(image)))
    expect(new Set(texts)).toEqual(new Set(['no file', '', '0', 'x512', 'x5120', '0x512', 'x1024']))
  })

  it('never lack what was synced', async () => {
    const made = await files()
    const handle = await made.open('/d/a', 'readWrite')
    await handle.datasync()
    await made.syncDirectory('/d')
    await handle.write([Buffer.from('y')], 1024)
    for (const { files: image } of imagesOf(made, 100, Math.random)) expect(await textOf(image)).toMatch(/^x1024(|0|y)$/)
  })
})
