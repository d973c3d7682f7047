/** What must become of a cluster once nothing goes wrong any more: everybody is back, every send has ended, all replicas are the same, nothing is lost. */
import type { Partition } from '../../broker/partition.ts'
import { readLastOffset } from '../../protocol/batch-header.ts'
import { splitBatches } from '../../protocol/batch-reader.ts'
import type { SimCluster } from './cluster.ts'
import type { History } from './history.ts'
import { Broken } from './oracles.ts'
import { reasonOf } from './trace.ts'
import { SimReader } from './workload.ts'

/** Within this all must be well again: sessions, elections and pauses between attempts add up to less. */
export const HEAL_MS = 60_000

export async function checkPeace(cluster: SimCluster, history: History, topics: readonly string[]): Promise<void> {
  const whole = await cluster.until(() => cluster.isWhole, HEAL_MS)
  if (!whole)
    throw new Broken(
      `nodes do not come back: ${cluster.nodes.map((node) => `n${node.nodeId} ${stateOf(cluster, node.nodeId)}`).join(', ')}`,
    )
  if (!(await cluster.until(() => history.isSettled, HEAL_MS))) {
    const open = history.sends.filter(({ outcome }) => outcome === 'open').map(({ value }) => value)
    throw new Broken(`sends do not end: ${open.join(', ')}`)
  }
  await untilConverged(cluster, topics)
  for (const topic of topics) {
    const reader = new SimReader(cluster, history, `final-${topic}`)
    const final = await cluster.run(reader.readAll(topic), HEAL_MS)
    cluster.oracles.check()
    history.checkFinal(topic, final)
    // A node that came back may have been given replicas meanwhile.
    await untilConverged(cluster, [topic])
    await checkSameBytes(cluster, topic)
  }
}

async function untilConverged(cluster: SimCluster, topics: readonly string[]): Promise<void> {
  if (!(await cluster.until(() => topics.every((topic) => isConverged(cluster, topic)), HEAL_MS)))
    throw new Broken(`replicas do not become the same: ${topics.map((topic) => describe(cluster, topic)).join('; ')}`)
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
