/** One run of the simulation: a cluster, clients, faults from a seed; then peace, in which everything must become well again. */
import { SimCluster } from './cluster.ts'
import { Faults } from './faults.ts'
import { GroupWorkload } from './group-workload.ts'
import { History } from './history.ts'
import { Operator } from './operator.ts'
import { Broken } from './oracles.ts'
import { checkPeace, HEAL_MS } from './peace.ts'
import { between, streamOf } from '../../scripts/random.ts'
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
  await checkPeace(cluster, history, TOPICS)
  if (group !== undefined) await checkGroup(cluster, group)
}

async function checkGroup(cluster: SimCluster, group: GroupWorkload): Promise<void> {
  if (!(await cluster.until(() => group.isWell && group.checks.acknowledgedCount > 0, HEAL_MS)))
    throw new Broken(`the group does not become well again: ${group.describe()}`)
  await cluster.run(group.checkFinal(), HEAL_MS)
  cluster.oracles.check()
}
