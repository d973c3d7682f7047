/**
 * Three nodes, a producer and a consumer at work, and faults: nothing acknowledged may be missing or doubled.
 *
 *   node scripts/run.mjs scripts/cluster-kill.ts [--faults 50] [--kinds kill,pause,leader,stop,roll] [--seed 1]
 *
 * Kinds: `kill` -9 a random node and start it again, `pause` one for longer than its session (SIGSTOP), `leader` kills the active
 * controller, `stop` stops one in order (SIGTERM) and starts it again, `roll` does so with all, one after the other. The producer is idempotent, acks=all, and lives through everything, as does the
 * consumer. At the end everything is read again: every acknowledged record is there once, those of one key in order, offsets
 * without a gap. Prints what it did, how long partitions were not written to, and what is wrong; ends with 1 if anything is.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { connect, type Tidemark } from '../client/index.ts'
import { ClusterProcess } from './cluster-process.ts'
import { chanceOf } from './random.ts'
import type { NodeProcess } from './node-process.ts'

const { values: flags } = parseArgs({
  options: {
    faults: { type: 'string', default: '50' },
    kinds: { type: 'string', default: 'kill,pause,leader,stop,roll' },
    seed: { type: 'string', default: '1' },
    session: { type: 'string', default: '2s' },
  },
})

const PARTITIONS = 6
const KEYS = 60
/** Sends under way at a time. */
const WINDOW = 100
const SESSION_MS = Number.parseFloat(flags.session) * 1000

const random = chanceOf(Number(flags.seed))
const directory = mkdtempSync(join(tmpdir(), 'tidemark-cluster-kill-'))
const cluster = await ClusterProcess.start(directory, 3, {
  TIDEMARK_SESSION_TIMEOUT: flags.session,
  TIDEMARK_HEARTBEAT_INTERVAL: `${Math.round(SESSION_MS / 6)}ms`,
})
async function run(): Promise<void> {
  const tm = await connect(cluster.addresses)
  await tm.admin.createTopic('load', { partitions: PARTITIONS, replicas: 3 })
  const load = new Load(tm)
  const reader = new Reader(tm)
  const gaps = new Map<string, number[]>()
  const kinds = flags.kinds.split(',')
  for (let fault = 0; fault < Number(flags.faults); fault++) {
    const kind = kinds[fault % kinds.length] as string
    const before = load.acknowledged.length
    load.longestGapMs = 0
    await inflict(kind, tm)
    await load.progresses(500)
    const list = gaps.get(kind) ?? []
    gaps.set(kind, [...list, load.longestGapMs])
    console.log(
      `${fault + 1}/${flags.faults} ${kind}: ${load.acknowledged.length - before} acknowledged meanwhile, longest pause of a partition ${Math.round(load.longestGapMs)} ms, ${load.failures.length} failed sends`,
    )
  }
  await load.stop()
  await reader.stop()
  const problems = [...load.failures.map((error) => `a send failed: ${error}`), ...reader.problems, ...(await checkAll(tm, load))]
  for (const [kind, list] of gaps) {
    const sorted = [...list].sort((a, b) => a - b)
    console.log(
      `${kind}: ${list.length} times, longest pause of a partition: median ${Math.round(sorted[sorted.length >> 1] ?? 0)} ms, worst ${Math.round(sorted.at(-1) ?? 0)} ms`,
    )
  }
  for (const problem of problems.slice(0, 20)) console.log(`WRONG: ${problem}`)
  console.log(`${load.acknowledged.length} records acknowledged, ${reader.count} read while it went on, ${problems.length} problems`)
  await tm.close()
  if (problems.length > 0) process.exitCode = 1
}

async function inflict(kind: string, tm: Tidemark): Promise<void> {
  if (kind === 'roll') {
    for (const node of cluster.nodes) {
      await node.stop('SIGTERM')
      await node.start()
      await everybodyInSync(tm)
    }
    return
  }
  const victim =
    kind === 'leader' ? await activeController(tm) : (cluster.nodes[Math.floor(random() * cluster.nodes.length)] as NodeProcess)
  switch (kind) {
    case 'pause':
      victim.signal('SIGSTOP')
      await sleep(SESSION_MS * 1.5)
      victim.signal('SIGCONT')
      await sleep(300)
      return
    case 'stop':
      await victim.stop('SIGTERM')
      break
    default:
      await victim.stop('SIGKILL')
  }
  await sleep(SESSION_MS * (0.2 + 1.5 * random()))
  await victim.start()
}

/** As an operator waits between two nodes. */
async function everybodyInSync(tm: Tidemark): Promise<void> {
  for (;;) {
    const { partitions } = await tm.admin.describeTopic('load')
    if (partitions.every(({ isr }) => isr.length === cluster.nodes.length)) return
    await sleep(50)
  }
}

async function activeController(tm: Tidemark): Promise<NodeProcess> {
  const { controllerId } = await tm.admin.describeCluster()
  return cluster.nodes[Math.max(1, controllerId) - 1] as NodeProcess
}

/** Sends numbered records, `WINDOW` at a time, and remembers which were acknowledged, in the order of each key. */
class Load {
  readonly acknowledged: string[] = []
  readonly failures: string[] = []
  longestGapMs = 0
  readonly #lastAckMs = new Map<number, number>()
  #isStopped = false
  readonly #running: Promise<void>

  constructor(tm: Tidemark) {
    this.#running = this.#run(tm)
  }

  /** Resolves once so many more are acknowledged. */
  async progresses(count: number): Promise<void> {
    const target = this.acknowledged.length + count
    const giveUpAtMs = performance.now() + 60_000
    while (this.acknowledged.length < target) {
      if (performance.now() > giveUpAtMs) throw new Error('nothing was acknowledged for a minute')
      await sleep(20)
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#running
  }

  async #run(tm: Tidemark): Promise<void> {
    const producer = tm.producer()
    let number = 0
    const worker = async (): Promise<void> => {
      while (!this.#isStopped) {
        const value = `${number}`
        const key = `k${number++ % KEYS}`
        try {
          const { partition } = await producer.send('load', { key, value })
          this.acknowledged.push(value)
          const now = performance.now()
          this.longestGapMs = Math.max(this.longestGapMs, now - (this.#lastAckMs.get(partition) ?? now))
          this.#lastAckMs.set(partition, now)
        } catch (error) {
          this.failures.push(`${value}: ${String(error)}`)
        }
        await sleep(5)
      }
    }
    await Promise.all(Array.from({ length: WINDOW }, worker))
    await producer.close()
  }
}

/** Follows the topic while it all goes on: positions only ever go up by one. */
class Reader {
  readonly problems: string[] = []
  count = 0
  readonly #abort = new AbortController()
  readonly #running: Promise<void>

  constructor(tm: Tidemark) {
    this.#running = this.#run(tm)
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    await this.#running
  }

  async #run(tm: Tidemark): Promise<void> {
    const next = new Map<number, bigint>()
    try {
      for await (const message of tm.consumer('load', { start: 'earliest', signal: this.#abort.signal })) {
        const expected = next.get(message.partition) ?? 0n
        if (message.offset !== expected)
          this.problems.push(`the reader of partition ${message.partition} got offset ${message.offset} after ${expected - 1n}`)
        next.set(message.partition, message.offset + 1n)
        this.count++
      }
    } catch (error) {
      if (!this.#abort.signal.aborted) this.problems.push(`the reader ended: ${String(error)}`)
    }
  }
}

async function checkAll(tm: Tidemark, load: Load): Promise<string[]> {
  const problems: string[] = []
  const seen = new Map<string, number>()
  const next = new Map<number, bigint>()
  const lastOfKey = new Map<string, number>()
  for await (const { messages } of tm.consumer('load', { start: 'earliest', end: 'now' }).batches()) {
    for (const { partition, offset, key, value } of messages) {
      const text = String(value)
      seen.set(text, (seen.get(text) ?? 0) + 1)
      if (offset !== (next.get(partition) ?? 0n))
        problems.push(`partition ${partition} has offset ${offset} after ${(next.get(partition) ?? 0n) - 1n}`)
      next.set(partition, offset + 1n)
      const number = Number(text)
      if (number <= (lastOfKey.get(String(key)) ?? -1))
        problems.push(`key ${String(key)}: ${number} comes after ${lastOfKey.get(String(key))}`)
      lastOfKey.set(String(key), number)
    }
  }
  for (const value of load.acknowledged) if (!seen.has(value)) problems.push(`record ${value} was acknowledged and is missing`)
  for (const [value, count] of seen) if (count > 1) problems.push(`record ${value} is there ${count} times`)
  return problems
}

try {
  await run()
} finally {
  await cluster.stop('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
}
