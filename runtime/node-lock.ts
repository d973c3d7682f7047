/**
 * A lock that keeps other processes out of a directory, without native code and gone with the process that held it.
 *
 * ```
 * <path>.<n>     held by the process it names, or by nobody when empty; the largest n counts
 * content        "<pid> <start time of the process> <id of the boot>"
 * ```
 * A number is taken by linking a finished file to it, which only one of several can. The largest number is never removed and
 * never given a new holder, so what one process judged stale cannot be another's fresh lock a moment later: whoever takes
 * over takes the next number. The start time keeps a process id that was used again from passing for the holder.
 * Processes that do not see each other's ids (containers that share a volume) are not kept apart.
 */
import { randomUUID } from 'node:crypto'
import { link, readdir, readFile, realpath, rm, truncate, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { DirectoryLock } from './runtime.ts'

/** Paths this copy of the code holds. */
const held = new Set<string>()

/** Others may take and give back the lock in between so many times. */
const ATTEMPTS_MAX = 16

/** Rejects with `ELOCKED` and the holder while another process, or this one, holds the lock. */
export async function takeLock(givenPath: string): Promise<DirectoryLock> {
  const path = join(await realpath(dirname(givenPath)), basename(givenPath))
  if (held.has(path)) throw lockedError(path, process.pid)
  held.add(path)
  try {
    const name = await takeNumber(path)
    return { release: () => release(path, name) }
  } catch (error) {
    held.delete(path)
    throw error
  }
}

async function release(path: string, name: string): Promise<void> {
  if (!held.delete(path)) return
  await truncate(name, 0).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOENT') throw error
  })
}

async function takeNumber(path: string): Promise<string> {
  const prepared = `${path}-${randomUUID()}`
  await writeFile(prepared, `${await processIdentity(process.pid)}\n`)
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const newest = Math.max(0, ...(await numbersOf(path)))
      if (newest > 0) await checkFree(`${path}.${newest}`)
      const own = newest + 1
      if (!(await linkUnlessThere(prepared, `${path}.${own}`))) continue
      // A slow taker may get a number that was taken, given back and removed meanwhile; then there is a larger one.
      const numbers = await numbersOf(path)
      const isNewest = Math.max(...numbers) === own
      const useless = isNewest ? numbers.filter((number) => number < own) : [own]
      await Promise.all(useless.map((number) => rm(`${path}.${number}`, { force: true })))
      if (isNewest) return `${path}.${own}`
    }
    throw Object.assign(new Error(`${path} is being taken by others again and again`), { code: 'ELOCKED' })
  } finally {
    await rm(prepared, { force: true })
  }
}

async function numbersOf(path: string): Promise<number[]> {
  const prefix = `${basename(path)}.`
  const names = await readdir(dirname(path))
  return names
    .filter((name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)))
}

async function linkUnlessThere(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  }
}

/** Throws while the process that `name` speaks of lives. A file that has gone was replaced by a newer one: the caller will find that. */
async function checkFree(name: string): Promise<void> {
  const text = await readFile(name, 'utf8').catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return ''
    throw error
  })
  const identity = text.trim()
  const pid = Number(identity.split(' ')[0])
  if (!Number.isInteger(pid) || pid <= 0 || !isAlive(pid)) return
  if ((await processIdentity(pid)) === identity) throw lockedError(name, pid)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}

/** Tells a process from all others, before and after; where the system does not say when it started, only by its id. */
async function processIdentity(pid: number): Promise<string> {
  const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '-')
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  // The name, in parentheses, may hold spaces; the start time is the 20th field after it.
  const startTime = status?.slice(status.lastIndexOf(')') + 2).split(' ')[19]
  return `${pid} ${startTime ?? '-'} ${bootId.trim()}`
}

function lockedError(path: string, pid: number): Error {
  const holder = pid === process.pid ? `this process (${pid})` : `process ${pid}`
  return Object.assign(new Error(`${path} is held by ${holder}`), { code: 'ELOCKED' })
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
