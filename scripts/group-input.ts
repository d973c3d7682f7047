/**
 * Real input through a consumer group: the Debian package index goes into twelve partitions while processes count its stanzas per section, effectively once.
 *
 *   node scripts/run.mjs scripts/group-input.ts [--stanzas 20000]
 *
 * Four processes begin. Some are killed (kill -9) and started again, one is stopped (SIGSTOP) for longer than its session, they become twelve, then fifteen, one
 * of those with a partition is killed, and in the end all but one leave. Checked: the counts equal those computed from the input; no partition was
 * counted by two members in one epoch; exactly three of fifteen said that they were idle; a second group reads everything again. Prints what it checked;
 * ends with 1 when anything is wrong.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { connect, type Tidemark } from '../client/index.ts'
import { CountStore } from './count-store.ts'
import { NodeProcess } from './node-process.ts'
import { readPackageIndex, sectionOf, type Stanza } from './package-index.ts'

const PARTITIONS = 12
/** Stanzas sent at once, and the pause after them while the group is changed. */
const WINDOW = 100
const PAUSE_MS = 50
const PATIENCE_MS = 180_000
const MEMBER = join(dirname(fileURLToPath(import.meta.url)), 'count-member.ts')

const { values: flags } = parseArgs({ options: { stanzas: { type: 'string', default: '0' } } })
const everything = readPackageIndex()
const input = Number(flags.stanzas) > 0 ? everything.slice(0, Number(flags.stanzas)) : everything

interface Happened {
  readonly name: string
  readonly event: string
}

/** A process that counts. */
class Counter {
  readonly name: string
  readonly happened: Happened[] = []
  readonly #child: ChildProcess

  constructor(address: string, path: string, name: string) {
    this.name = name
    this.#child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MEMBER, address, path, name], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      this.happened.push(JSON.parse(line) as Happened)
    })
  }

  /** The newest of its being idle or needed. */
  get isIdle(): boolean {
    return this.happened.findLast(({ event }) => event === 'idle' || event === 'needed')?.event === 'idle'
  }

  get hasPartition(): boolean {
    return this.happened.findLast(({ event }) => event === 'assigned' || event === 'revoked' || event === 'lost')?.event === 'assigned'
  }

  count(event: string): number {
    return this.happened.filter((one) => one.event === event).length
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.kill(signal)
    await ended
  }
}

const directory = mkdtempSync(join(tmpdir(), 'tidemark-group-input-'))
const path = join(directory, 'counts.sqlite')
const node = await NodeProcess.start(join(directory, 'node'))
const store = new CountStore(path)
const counters: Counter[] = []
const everyCounter: Counter[] = []
const problems: string[] = []
let isHurrying = false
try {
  await run()
} finally {
  await Promise.all(counters.map((counter) => counter.end('SIGKILL')))
  store.close()
  await node.stop()
  rmSync(directory, { recursive: true, force: true })
}

async function run(): Promise<void> {
  const tm = await connect(node.address)
  await tm.admin.createTopic('packages', { partitions: PARTITIONS })
  const produced = produceAll(tm)
  await changeTheGroup(tm)
  isHurrying = true
  await produced
  await until('everything is counted', () => store.total() >= input.length)
  await checkCounts(tm)
  for (const counter of counters.splice(0)) await counter.end('SIGTERM')
  await tm.close()
  for (const problem of problems) console.log(`WRONG: ${problem}`)
  console.log(problems.length === 0 ? 'all of it holds' : `${problems.length} problems`)
  if (problems.length > 0) process.exitCode = 1
}

/** Sends slowly while the group is changed, so that it is at work all the time. */
async function produceAll(tm: Tidemark): Promise<void> {
  await using producer = tm.producer({ batchBytes: '16KiB' })
  for (let at = 0; at < input.length; at += WINDOW) {
    await Promise.all(input.slice(at, at + WINDOW).map(({ key, text }) => producer.send('packages', { key, value: text })))
    if (!isHurrying) await sleep(PAUSE_MS)
  }
}

async function changeTheGroup(tm: Tidemark): Promise<void> {
  await growTo(4)
  await progress('four members')
  for (let round = 0; round < 3; round++) {
    await kill(round % counters.length)
    await progress(`three members, one was killed (${round + 1})`)
    await growTo(4)
    await progress(`four members again (${round + 1})`)
  }
  const stopped = counters[1] as Counter
  stopped.signal('SIGSTOP')
  await sleep(8000)
  await progress('one is stopped for longer than its session')
  stopped.signal('SIGCONT')
  await until('the one that was stopped notices', () => stopped.count('lost') > 0)
  await growTo(PARTITIONS)
  await until('twelve members have a partition each', async () => (await sizes(tm)).join() === Array(PARTITIONS).fill(1).join())
  await progress('twelve members')
  await growTo(PARTITIONS + 3)
  await until('three members say that they are idle', () => counters.filter(({ isIdle }) => isIdle).length === 3)
  const { members } = await tm.admin.groups.describe('counters')
  const idleCount = members.filter(({ isIdle }) => isIdle).length
  if (members.length !== 15 || idleCount !== 3) problems.push(`the coordinator counts ${members.length} members, ${idleCount} of them idle`)
  await progress('fifteen members, three idle')
  await kill(counters.findIndex(({ isIdle, hasPartition }) => !isIdle && hasPartition))
  await until('one of the idle takes over', () => counters.filter(({ isIdle }) => isIdle).length === 2)
  await progress('fourteen members, two idle')
  for (const counter of counters.splice(1)) await counter.end('SIGTERM')
  await until('one member has everything', async () => (await sizes(tm)).join() === String(PARTITIONS))
  await progress('one member')
}

async function checkCounts(tm: Tidemark): Promise<void> {
  const wanted = new Map<string, number>()
  for (const { text } of input) wanted.set(sectionOf(text), (wanted.get(sectionOf(text)) ?? 0) + 1)
  const counted = store.counts()
  for (const section of new Set([...wanted.keys(), ...counted.keys()]))
    if (wanted.get(section) !== counted.get(section))
      problems.push(`section ${section}: ${counted.get(section) ?? 0} counted, ${wanted.get(section) ?? 0} in the input`)
  console.log(
    `${store.total()} stanzas of ${input.length} in ${counted.size} sections counted, as often as the input has them: ${problems.length === 0}`,
  )
  const shared = store.sharedHolds()
  problems.push(...shared)
  console.log(`partitions were held ${store.holdCount()} times; held by two members in one epoch: ${shared.length}`)
  const sum = (event: string): number => everyCounter.reduce((total, counter) => total + counter.count(event), 0)
  if (sum('failed') > 0) problems.push(`${sum('failed')} members failed`)
  console.log(
    `members: ${everyCounter.length}; idle was said ${sum('idle')} times, lost ${sum('lost')} times, ${sum('refused')} late transactions were refused`,
  )
  await checkSecondGroup(tm)
}

/** It begins when the first one is done, and reads everything. */
async function checkSecondGroup(tm: Tidemark): Promise<void> {
  const keys: string[] = []
  for await (const batch of tm.consumer('packages', { group: 'late', start: 'earliest' }).batches()) {
    for (const { value } of batch.messages) keys.push(String(value))
    await batch.commit()
    if (keys.length >= input.length) break
  }
  const sorted = (texts: readonly string[]): string => [...texts].sort().join('\n\n')
  if (sorted(keys) !== sorted(input.map(({ text }: Stanza) => text))) problems.push('the second group did not read the same stanzas')
  console.log(`a second group read ${keys.length} stanzas from the start`)
}

async function growTo(count: number): Promise<void> {
  while (counters.length < count) {
    const counter = new Counter(node.address, path, `counter-${everyCounter.length}`)
    counters.push(counter)
    everyCounter.push(counter)
  }
  await until(`${count} members have joined`, () => counters.every(({ happened }) => happened.length > 0))
}

async function kill(at: number): Promise<void> {
  const [victim] = counters.splice(at, 1)
  await victim?.end('SIGKILL')
}

/** How many partitions each member has, of those that have some. */
async function sizes(tm: Tidemark): Promise<number[]> {
  const { members, state } = await tm.admin.groups.describe('counters')
  return state === 'stable' ? members.map(({ assigned }) => assigned.length) : []
}

/** A few more stanzas are counted. */
async function progress(what: string): Promise<void> {
  const before = store.total()
  const wanted = Math.min(input.length, before + 3 * WINDOW)
  await until(what, () => store.total() >= wanted)
  console.log(`${what}: ${store.total()} stanzas counted`)
}

async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + PATIENCE_MS
  while (!(await isTrue())) {
    if (performance.now() > deadlineMs) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`)
    await sleep(50)
  }
}
