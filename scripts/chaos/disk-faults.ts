/**
 * Faults of one disk at a time, and of clocks. A file is only damaged on a node that is down and that nobody counts on: out of every ISR, with all others in sync.
 * Then whatever is lost there is on two other disks, and the node must notice, or get it anew.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { pick } from '../random.ts'
import type { Begun, Scene } from './fault.ts'
import { nameOfNode, REPLICAS, until, type World } from './world.ts'

const PATIENCE_MS = 30_000
/** Why a voter does not start whose votes cannot be trusted any more. */
const LOST = /DATA_DIR_INVALID|CORRUPT_/
/** The node whose disk is a small file system of its own, where there may be one. */
const SMALL_DISK_NODE = 3
const SMALL_DISK = '512m'

/** Flips a bit of a file, or cuts its end off: a segment, an index, a checkpoint, the state of the quorum. */
export async function damage({ world, victim, chance }: Scene): Promise<Begun | undefined> {
  if (!(await killUnneeded(world, victim))) return undefined
  const directory = world.dataDir(victim)
  const what = pick(chance, ['.log', '.log', 'index', 'checkpoint', 'controller'])
  const files = filesIn(directory).filter((path) => kindOf(relative(directory, path)) === what)
  if (files.length === 0) return undefined
  const path = pick(chance, files)
  const how = hurt(path, chance)
  world.isDamaged = true
  world.node(victim).launch()
  return { target: `${nameOfNode(victim)}: ${relative(directory, path)}, ${how}` }
}

/** The members of the quorum change: a node leaves it, and comes back with an empty disk. */
export async function replaceNode({ world, victim }: Scene): Promise<Begun | undefined> {
  if (!(await killUnneeded(world, victim))) return undefined
  await replace(world, victim)
  return { target: nameOfNode(victim) }
}

/** Kills a node on which nothing is that is not on the others. False when it did not come to that. */
async function killUnneeded(world: World, victim: number): Promise<boolean> {
  if (!(await until(async () => (await world.trouble()) === undefined, PATIENCE_MS))) return false
  await world.node(victim).stop('SIGKILL')
  return until(async () => {
    const partitions = await world.partitions()
    return partitions.every(({ isr }) => isr.length === REPLICAS - 1 && !isr.includes(victim))
  }, PATIENCE_MS)
}

function kindOf(path: string): string {
  if (path.startsWith('controller')) return 'controller'
  if (path.endsWith('.log')) return '.log'
  if (path.endsWith('index')) return 'index'
  return /checkpoint|\.snapshot$/.test(path) ? 'checkpoint' : ''
}

function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort()
}

function hurt(path: string, chance: () => number): string {
  const file = openSync(path, 'r+')
  try {
    const { size } = fstatSync(file)
    if (size === 0) return 'which is empty'
    if (chance() < 0.4) {
      const kept = Math.floor(chance() * size)
      ftruncateSync(file, kept)
      return `cut to ${kept} of ${size} bytes`
    }
    const at = Math.floor(chance() * size)
    const byte = Buffer.alloc(1)
    readSync(file, byte, 0, 1, at)
    byte[0] = (byte[0] ?? 0) ^ (1 << Math.floor(chance() * 8))
    writeSync(file, byte, 0, 1, at)
    return `a bit of byte ${at} of ${size} flipped`
  } finally {
    closeSync(file)
  }
}

/** As an operator does: a voter that says that its disk is not what it was is taken out of the quorum, and joins anew with an empty one. */
export async function replaceIfLost(world: World): Promise<void> {
  if (!world.isDamaged) return
  world.isDamaged = false
  let lost: number | undefined
  await until(async () => {
    lost = world.nodeIds.find((nodeId) => !world.node(nodeId).isRunning && LOST.test(world.node(nodeId).stderr))
    return lost !== undefined || (await world.trouble()) === undefined
  }, PATIENCE_MS)
  if (lost !== undefined) await replace(world, lost)
}

/** The node is down. */
async function replace(world: World, nodeId: number): Promise<void> {
  const node = world.node(nodeId)
  world.nemesis.write({ op: 'replace', target: nameOfNode(nodeId) })
  const { cluster } = world.admin.admin
  await until(async () => {
    await cluster.removeController(nodeId).catch(() => {})
    return (await cluster.describeQuorum()).members.every((member) => member.nodeId !== nodeId)
  }, PATIENCE_MS)
  for (const name of readdirSync(world.dataDir(nodeId))) rmSync(join(world.dataDir(nodeId), name), { recursive: true })
  const others = world.nodeIds.filter((one) => one !== nodeId).map((one) => world.node(one).address)
  node.environment = { ...node.environment, TIDEMARK_VOTERS: '', TIDEMARK_JOIN: others.join(',') }
  node.launch()
}

/** Gives one node a disk of its own that can be made full. Returns why not. */
export function mountSmallDisk(directory: string): string | undefined {
  const path = join(directory, 'nodes', `node-${SMALL_DISK_NODE}`)
  mkdirSync(path, { recursive: true })
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK}`, 'tmpfs', path], { stdio: 'ignore' })
    return undefined
  } catch {
    return 'needs the right to mount a file system'
  }
}

/** Also where it is gone already, and where a node that was just killed has files open there. */
export function unmountSmallDisk(directory: string): void {
  spawnSync('umount', ['--lazy', join(directory, 'nodes', `node-${SMALL_DISK_NODE}`)])
}

/** The disk becomes as small as what is on it. */
export function fillDisk({ world }: Scene): Begun | undefined {
  const path = world.dataDir(SMALL_DISK_NODE)
  const usedKib = Number(execFileSync('df', ['--output=used', '-k', path], { encoding: 'utf8' }).split('\n')[1])
  const resize = (size: string): Buffer => execFileSync('mount', ['-o', `remount,size=${size}`, path], { stdio: 'ignore' })
  resize(`${usedKib + 64}k`)
  return { target: nameOfNode(SMALL_DISK_NODE), end: () => void resize(SMALL_DISK) }
}

const FAKETIME = ['/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1', '/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1']

/** Variables with which the wall clock of a process is what a file says; undefined where the library for it is not there. The monotonic clock is left alone. */
export function movableClock(path: string): Record<string, string> | undefined {
  const library = FAKETIME.find(existsSync)
  if (library === undefined) return undefined
  writeFileSync(path, '+0\n')
  return { LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: path, FAKETIME_CACHE_DURATION: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' }
}

export function clockFile(directory: string, nodeId: number): string {
  return join(directory, `clock-${nodeId}`)
}

/** By up to an hour, forwards or back; and back again. */
export function moveClock({ world, victim, chance }: Scene): Begun {
  const path = clockFile(world.directory, victim)
  const seconds = Math.round((chance() - 0.5) * 7200)
  writeFileSync(path, `${seconds < 0 ? '' : '+'}${seconds}\n`)
  return { target: `${nameOfNode(victim)} by ${seconds} s`, end: () => writeFileSync(path, '+0\n') }
}
