/** Data directories that a node cannot use, or finds in another place than it seems. */
import { execFileSync } from 'node:child_process'
import { chmod, mkdir, rename, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { NodeProcess } from '../../scripts/node-process.ts'
import { digestsOf, refusal, usePlace, valuesIn } from './support.ts'

const place = usePlace()

const isRoot = process.getuid?.() === 0
/** On most systems nobody. */
const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']

function canRun(command: string, ...args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

async function serveOnce(node: NodeProcess): Promise<void> {
  await node.start()
  const tm = await place.connect(node.address)
  await tm.admin.createTopic('orders', { partitions: 1 })
  await tm.producer().send('orders', { value: 'kept' })
  await tm.close()
  await node.stop()
}

async function expectKept(node: NodeProcess): Promise<void> {
  await node.start()
  expect(await valuesIn(await place.connect(node.address), 'orders')).toEqual(['kept'])
  await node.stop()
}

/** A node that has served a directory by the name of a link to it, and stopped. */
async function servedByLink(): Promise<{ readonly node: NodeProcess; readonly real: string; readonly link: string }> {
  const directory = await place.directory()
  const real = join(directory, 'real')
  const link = join(directory, 'link')
  await mkdir(real)
  await symlink(real, link)
  const node = await place.node(link)
  await serveOnce(node)
  return { node, real, link }
}

describe('E14 a data directory', () => {
  it('on a file system that is read-only: an error that names it, exit code 1, nothing deleted, and all is well when it can be written again', async (context) => {
    const directory = await place.directory()
    if (!canRun('mount', '-t', 'tmpfs', 'tmpfs', directory)) return context.skip('needs the right to mount a file system')
    place.after(() => canRun('umount', '--lazy', directory))
    const dataDir = join(directory, 'data')
    const node = await place.node(dataDir)
    await serveOnce(node)
    const before = await digestsOf(dataDir)
    expect(canRun('mount', '-o', 'remount,ro', directory)).toBe(true)
    const said = await refusal(node)
    expect(said).toContain('EROFS')
    expect(said).toContain(dataDir)
    expect(await digestsOf(dataDir)).toEqual(before)
    expect(canRun('mount', '-o', 'remount,rw', directory)).toBe(true)
    await expectKept(node)
  })

  it('of another owner: an error that names it, exit code 1, and nothing deleted', async (context) => {
    if (!isRoot || !canRun(NOBODY[0] as string, ...NOBODY.slice(1), process.execPath, '--version'))
      return context.skip('needs root, setpriv, and a Node that others may run')
    const directory = await place.directory()
    await chmod(directory, 0o755)
    const dataDir = join(directory, 'data')
    const node = await place.node(dataDir)
    await serveOnce(node)
    const before = await digestsOf(dataDir)
    // May look and not touch; then not even look.
    for (const mode of [0o755, 0o700]) {
      await chmod(dataDir, mode)
      node.wrapper = NOBODY
      const said = await refusal(node)
      expect(said).toContain('EACCES')
      expect(said).toContain(dataDir)
      expect(await digestsOf(dataDir)).toEqual(before)
    }
    node.wrapper = []
    await expectKept(node)
  })

  it('that is a link to one is that one: it is served, and a second node by the other name is refused', async () => {
    const { node, real } = await servedByLink()
    await node.start()
    const second = await place.node(real)
    expect(await refusal(second)).toContain('DATA_DIR_LOCKED')
    await node.stop()
    await expectKept(second)
  })

  it('that is a link to nothing: an error that names it, exit code 1; and what comes back in its place is served', async () => {
    const { node, real, link } = await servedByLink()
    await rename(real, `${real}.elsewhere`)
    expect(await refusal(node)).toContain(link)
    await rename(`${real}.elsewhere`, real)
    await expectKept(node)
  })

  it('whose name is that of a file: an error that names it, exit code 1', async () => {
    const file = join(import.meta.dirname, 'README.md')
    const node = await place.node(file)
    expect(await refusal(node)).toContain(file)
  })
})
