/** One run of the simulation: a cluster, clients, faults from a seed; then peace, in which everything must become well again. */
import type { Partition } from '../../broker/partition.ts'
import { readLastOffset } from '../../protocol/batch-header.ts'
import { splitBatches } from '../../protocol/batch-reader.ts'
import { SimCluster } from './cluster.ts'
import { Faults } from './faults.ts'
import { GroupWorkload } from './group-workload.ts'
import { History } from './history.ts'
import { Operator } from './operator.ts'
import { Broken } from './oracles.ts'
import { between, streamOf } from './random.ts'
import { reasonOf } from './trace.ts'
import { SimProducer, SimReader, watchEnds } from './workload.ts'

export interface RunOptions {
  readonly seed: number
  /** How long things go wrong. */
  readonly faultMs?: number
  readonly print?: (line: string) => void
}

export interface RunResult {
  readonly seed: number
  readonly traceHash: number
  readonly virtualMs: number
  readonly eventCount: number
  readonly faultCount: number
  readonly acknowledgedCount: number
  readonly readCount: number
  /** Why it failed. */
  readonly failure: Error | undefined
  /** The newest lines of the trace. */
  readonly recent: readonly string[]
}

const TOPICS = ['orders', 'audit'] as const
const FAULT_MS = 6000
/** Within this all must be well again once nothing goes wrong any more: sessions, elections and pauses between attempts add up to less. */
const HEAL_MS = 60_000

export async function runSeed({ seed, faultMs = FAULT_MS, print }: RunOptions): Promise<RunResult> {
  const cluster = new SimCluster({ seed, nodeCount: seed % 5 === 0 ? 4 : 3, ...(print !== undefined && { print }) })
  const history = new History()
  const faults = new Faults(cluster, streamOf(seed, 'faults'))
  let failure: Error | undefined
  try {
    await play(cluster, history, faults, faultMs)
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error))
  }
  return {
    seed,
    traceHash: cluster.trace.hash,
    virtualMs: Math.round(cluster.time.elapsedMs),
    eventCount: cluster.time.eventCount,
    faultCount: faults.count,
    acknowledgedCount: history.acknowledgedCount,
    readCount: history.readCount,
    failure,
    recent: cluster.trace.recent,
  }
}

async function play(cluster: SimCluster, history: History, faults: Faults, faultMs: number): Promise<void> {
  const { seed } = cluster
  const chance = streamOf(seed, 'workload')
  await cluster.begin()
  const admin = cluster.openClient('admin').tm.admin
  await cluster.run(admin.createTopic('orders', { partitions: 2, replicas: 3, configs: { 'segment.ms': '1s' } }))
  await cluster.run(
    admin.createTopic('audit', { partitions: 1, replicas: 3, configs: { 'min.insync.replicas': seed % 4 === 0 ? '1' : '2' } }),
  )
  const producers = ['p1', 'p2'].map((name) => new SimProducer(cluster, history, name, streamOf(seed, name)))
  for (const producer of producers) producer.start(TOPICS, between(chance, 5, 60))
  new SimReader(cluster, history, 'r1').follow(TOPICS)
  watchEnds(cluster, TOPICS, 100)
  const operator = new Operator(cluster, streamOf(seed, 'operator'), TOPICS)
  if (seed % 3 !== 0) operator.start()
  const group = seed % 2 === 0 ? new GroupWorkload(cluster, streamOf(seed, 'group'), TOPICS) : undefined
  group?.start()
  const until = cluster.time.nowMs + faultMs
  while (cluster.time.nowMs < until) {
    await cluster.advance(chance() < 0.2 ? between(chance, 500, 1500) : between(chance, 5, 250))
    faults.step()
  }
  faults.heal()
  operator.stop()
  for (const producer of producers) producer.stop()
  group?.stop()
  await checkPeace(cluster, history)
  if (group !== undefined) await checkGroup(cluster, group)
}

async function checkGroup(cluster: SimCluster, group: GroupWorkload): Promise<void> {
  if (!(await cluster.until(() => group.isWell && group.checks.acknowledgedCount > 0, HEAL_MS)))
    throw new Broken(`the group does not become well again: ${group.describe()}`)
  await cluster.run(group.checkFinal(), HEAL_MS)
  cluster.oracles.check()
}

async function checkPeace(cluster: SimCluster, history: History): Promise<void> {
  const whole = await cluster.until(() => cluster.isWhole, HEAL_MS)
  if (!whole)
    throw new Broken(
      `nodes do not come back: ${cluster.nodes.map((node) => `n${node.nodeId} ${stateOf(cluster, node.nodeId)}`).join(', ')}`,
    )
  if (!(await cluster.until(() => history.isSettled, HEAL_MS))) {
    const open = history.sends.filter(({ outcome }) => outcome === 'open').map(({ value }) => value)
    throw new Broken(`sends do not end: ${open.join(', ')}`)
  }
  if (!(await cluster.until(() => TOPICS.every((topic) => isConverged(cluster, topic)), HEAL_MS)))
    throw new Broken(`replicas do not become the same: ${TOPICS.map((topic) => describe(cluster, topic)).join('; ')}`)
  for (const topic of TOPICS) {
    const reader = new SimReader(cluster, history, `final-${topic}`)
    const final = await cluster.run(reader.readAll(topic), HEAL_MS)
    cluster.oracles.check()
    history.checkFinal(topic, final)
    await checkSameBytes(cluster, topic)
  }
}

function partitionsOf(cluster: SimCluster, topic: string): (Partition | undefined)[][] {
  const { partitions } = cluster.image.topics.get(topic) ?? { partitions: [] }
  return partitions.map((state, number) => state.replicas.map((id) => cluster.partitionOf(cluster.node(id), topic, number)))
}

/** Everybody is in sync and has the same, all of it committed. */
function isConverged(cluster: SimCluster, topic: string): boolean {
  const states = cluster.image.topics.get(topic)?.partitions ?? []
  return partitionsOf(cluster, topic).every((replicas, number) => {
    const state = states[number]
    const leader = replicas.find((replica) => replica?.isLeader)
    if (state === undefined || leader === undefined || state.isr.length !== state.replicas.length) return false
    const end = leader.log.logEndOffset
    return (
      leader.highWatermark === end && replicas.every((replica) => replica?.log.flushedOffset === end && replica.log.logEndOffset === end)
    )
  })
}

async function checkSameBytes(cluster: SimCluster, topic: string): Promise<void> {
  for (const replicas of partitionsOf(cluster, topic)) {
    const [first, ...others] = await cluster.run(Promise.all(replicas.map((replica) => bytesOf(replica as Partition))))
    for (const other of others)
      if (!other.equals(first as Buffer)) throw new Broken(`replicas of ${topic} differ: ${describe(cluster, topic)}`)
  }
}

async function bytesOf({ log }: Partition): Promise<Buffer> {
  const chunks: Buffer[] = []
  for (let next = log.logStartOffset; next < log.logEndOffset; ) {
    const read = await log.read(next, 1 << 20, log.logEndOffset)
    chunks.push(...read)
    next = readLastOffset(read.flatMap(splitBatches).at(-1) as Buffer) + 1
  }
  return Buffer.concat(chunks)
}

function describe(cluster: SimCluster, topic: string): string {
  const states = cluster.image.topics.get(topic)?.partitions ?? []
  return states
    .map(({ leader, leaderEpoch, isr, elr, replicas }, number) => {
      const ends = replicas.map((id) => {
        const replica = cluster.partitionOf(cluster.node(id), topic, number)
        return replica === undefined
          ? `n${id} has none`
          : `n${id} ${replica.log.flushedOffset}/${replica.log.logEndOffset} hw ${replica.highWatermark}`
      })
      return `${topic}-${number}: leader ${leader} epoch ${leaderEpoch}, ISR ${isr.join()}, ELR ${elr.join()}, ${ends.join(', ')}`
    })
    .join('; ')
}

function stateOf(cluster: SimCluster, nodeId: number): string {
  const { life } = cluster.node(nodeId)
  if (life === undefined) return 'is down'
  if (life.failure !== undefined) return `failed: ${reasonOf(life.failure)}`
  if (!life.isStarted) return 'is starting'
  return cluster.image.nodes.get(nodeId)?.fenced === true ? 'is fenced' : 'is up'
}
