import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { nodeFiles } from '../../runtime/node-files.ts'
import { describeFiles } from '../conformance/files.ts'

const directories: string[] = []
const children: ChildProcess[] = []

async function createDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-files-'))
  directories.push(directory)
  return directory
}

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true })
})

describeFiles('real files', async () => ({ files: nodeFiles, directory: await createDirectory() }))

/** A process that tries to take the lock, says `held` or `refused <code>`, and stays. */
function startLocker(path: string): ChildProcess {
  const code = `
    import { nodeFiles } from ${JSON.stringify(join(import.meta.dirname, '../../runtime/node-files.ts'))}
    nodeFiles.lock(${JSON.stringify(path)}).then(() => console.log('held'), (error) => console.log('refused ' + error.code))
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  return child
}

async function answerOf(child: ChildProcess): Promise<string> {
  const [data] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer]
  return data.toString().trim()
}

describe('the lock of real files', () => {
  it('names the process that holds it, and is taken over at once when that was killed', async () => {
    const path = join(await createDirectory(), 'lock')
    const child = startLocker(path)
    expect(await answerOf(child)).toBe('held')
    await expect(nodeFiles.lock(path)).rejects.toMatchObject({ code: 'ELOCKED', message: expect.stringContaining(`process ${child.pid}`) })
    child.kill('SIGKILL')
    await once(child, 'exit')
    await (await nodeFiles.lock(path)).release()
  })

  it('does not take a process id that was used again for the holder', async () => {
    const path = join(await createDirectory(), 'lock')
    await writeFile(`${path}.1`, `${process.ppid} 1 00000000-0000-0000-0000-000000000000\n`)
    await (await nodeFiles.lock(path)).release()
  })

  it.each(['', 'garbage', '-5 1 x', '99999999999 1 x'])('does not take %j for a holder', async (content) => {
    const path = join(await createDirectory(), 'lock')
    await writeFile(`${path}.7`, content)
    const lock = await nodeFiles.lock(path)
    await lock.release()
    expect(await readdir(join(path, '..'))).toEqual(['lock.8'])
  })

  it('knows a directory by any of its names', async () => {
    const directory = await createDirectory()
    await symlink(directory, `${directory}-alias`)
    directories.push(`${directory}-alias`)
    const lock = await nodeFiles.lock(join(directory, 'lock'))
    await expect(nodeFiles.lock(join(`${directory}-alias`, 'lock'))).rejects.toMatchObject({ code: 'ELOCKED' })
    await lock.release()
  })

  it('lets one of several processes take a stale lock', async () => {
    const path = join(await createDirectory(), 'lock')
    await writeFile(`${path}.1`, '99999999 1 x\n')
    const answers = await Promise.all(Array.from({ length: 6 }, () => answerOf(startLocker(path))))
    expect(answers.sort()).toEqual(['held', ...Array(5).fill('refused ELOCKED')])
  })
})
