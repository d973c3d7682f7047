/**
 * How long partitions cannot be written to after a fault, in virtual time: `node scripts/run.mjs test/sim/pauses.ts [--runs 40] [--session 2000]`.
 * What a real machine adds (start of processes, load) is not in it: it shows what the protocol and its settings cost.
 */
import { parseArgs } from 'node:util'
import { SimCluster } from './cluster.ts'
import type { SimNode } from './node.ts'
import { between, type Chance, pick, streamOf } from '../../scripts/random.ts'

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '40' },
    session: { type: 'string', default: '2000' },
    kinds: { type: 'string', default: 'kill,pause,controller,stop' },
    trace: { type: 'boolean', default: false },
    seed: { type: 'string', default: '1' },
  },
})

const SESSION_MS = Number(values.session)
const PARTITIONS = 6
const SEND_EVERY_MS = 10
const QUIET_MS = 3000

type Kind = 'kill' | 'pause' | 'controller' | 'stop'

for (const kind of values.kinds.split(',') as Kind[]) {
  const pauses: number[] = []
  for (let run = 0; run < Number(values.runs); run++) pauses.push(await pauseAfter(kind, Number(values.seed) + run))
  pauses.sort((a, b) => a - b)
  const at = (part: number): string => `${Math.round(pauses[Math.min(pauses.length - 1, Math.floor(part * pauses.length))] ?? 0)} ms`
  console.log(`${kind}: median ${at(0.5)}, 90 % ${at(0.9)}, worst ${at(1)}`)
}

/** The longest time in which a partition acknowledged nothing. */
async function pauseAfter(kind: Kind, seed: number): Promise<number> {
  const print = (line: string): void => console.log(line)
  const cluster = new SimCluster({
    seed,
    config: {
      sessionTimeoutMs: SESSION_MS,
      heartbeatIntervalMs: SESSION_MS / 6,
      electionTimeoutMs: 1000,
      electionHeartbeatIntervalMs: 100,
      replicaLagMaxMs: 10_000,
      shutdownTimeoutMs: 30_000,
    },
    ...(values.trace && { print }),
  })
  const chance = streamOf(seed, 'pauses')
  await cluster.begin()
  const { tm, process } = cluster.openClient()
  await cluster.run(tm.admin.createTopic('load', { partitions: PARTITIONS, replicas: 3 }))
  const producer = tm.producer()
  const lastMs = new Map<number, number>()
  let longestMs = 0
  const note = (partition: number): void => {
    const now = cluster.time.nowMs
    longestMs = Math.max(longestMs, now - (lastMs.get(partition) ?? now))
    lastMs.set(partition, now)
  }
  for (let partition = 0; partition < PARTITIONS; partition++)
    process.timers.every(SEND_EVERY_MS, () => void producer.send('load', { partition, value: 'v' }).then(() => note(partition)))
  await cluster.advance(QUIET_MS + between(chance, 0, 1000))
  longestMs = 0
  cluster.trace.say('!', kind)
  await inflict(cluster, kind, chance)
  await cluster.advance(QUIET_MS)
  for (let partition = 0; partition < PARTITIONS; partition++) note(partition)
  return longestMs
}

async function inflict(cluster: SimCluster, kind: Kind, chance: Chance): Promise<void> {
  const victim = kind === 'controller' ? (cluster.activeController as SimNode) : pick(chance, cluster.nodes)
  const awayMs = SESSION_MS * (0.2 + 1.5 * chance())
  if (kind === 'pause') {
    victim.life?.process.pause()
    await cluster.advance(SESSION_MS * 1.5)
    victim.life?.process.resume()
    return
  }
  if (kind === 'stop') await cluster.run(victim.stop())
  else victim.kill()
  cluster.trace.say(`n${victim.nodeId}`, 'GONE')
  await cluster.advance(awayMs)
  victim.start()
  await cluster.until(() => cluster.isWhole, 60_000)
}
