/** What `dev --temporary` leaves behind: nothing, unless a node that was started again by hand still writes there. */
import { existsSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { nodeFiles } from '../runtime/node-files.ts'

/** Removes the directory, whose entries belong to one node or are the data directories of several; those in use stay, and that is said. */
export async function removeUnused(directory: string): Promise<void> {
  if (!existsSync(directory)) return
  const names = await readdir(directory)
  const used = await Promise.all(names.filter((name) => name.startsWith('node-')).map((name) => unlessUsed(join(directory, name))))
  const staying = used.filter((path) => path !== undefined)
  if (staying.length === 0) return rm(directory, { recursive: true, force: true })
  for (const path of staying) process.stderr.write(`A node still runs on ${path}: that stays. Remove it once the node has stopped.\n`)
}

/** Removes a node's directory; resolves to its path where it is in use instead. */
async function unlessUsed(path: string): Promise<string | undefined> {
  const { lockDataDir } = await import('../log/data-dir.ts')
  try {
    const lock = await lockDataDir(nodeFiles, path)
    await rm(path, { recursive: true, force: true })
    await lock.release()
    return undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ELOCKED') return path
    throw error
  }
}
