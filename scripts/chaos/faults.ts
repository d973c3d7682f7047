/**
 * The faults of a run, each with how it begins and how it ends. Everything here is something that three nodes with durability `fsync` have to survive without
 * losing an acknowledged record. `alone`: not together with others, because two of them could take away what nobody else has.
 */
import { damage, fillDisk, moveClock, replaceIfLost, replaceNode } from './disk-faults.ts'
import { between, type Chance } from '../random.ts'
import type { Begun, Fault, Scene } from './fault.ts'
import { NETWORK_FAULTS } from './network-faults.ts'
import { TOPIC } from './topics.ts'
import { nameOfNode, SESSION_MS, until, type World } from './world.ts'

const kill = async ({ world, victim }: Scene): Promise<Begun> => {
  await world.node(victim).stop('SIGKILL')
  return { target: nameOfNode(victim) }
}

export const FAULTS: readonly Fault[] = [
  { kind: 'kill', weight: 3, begin: kill },
  { kind: 'kill-controller', weight: 2, hitsController: true, begin: kill },
  { kind: 'kill-all', weight: 1, begin: killAll },
  { kind: 'kill-majority', weight: 1, begin: killOthers },
  { kind: 'pause', weight: 2, begin: pause },
  { kind: 'pause-controller', weight: 1, hitsController: true, begin: pause },
  { kind: 'pause-all', weight: 1, begin: pauseAll },
  { kind: 'stop', weight: 1, begin: stop },
  { kind: 'rolling-restart', weight: 1, alone: true, begin: restartAll },
  ...NETWORK_FAULTS,
  { kind: 'clock', weight: 1, begin: moveClock },
  { kind: 'reassign', weight: 1, begin: reassign },
  { kind: 'replace', weight: 1, alone: true, begin: replaceNode },
  { kind: 'damage', weight: 2, alone: true, begin: damage },
  { kind: 'disk-full', weight: 1, begin: fillDisk },
  { kind: 'client-kill', weight: 2, begin: killClients },
  { kind: 'client-pause', weight: 1, begin: pauseClients },
]

/** All is well again, whatever was done, by whomever. */
export async function heal(world: World): Promise<void> {
  world.network.heal()
  for (const one of [...world.clients, ...world.cluster.nodes]) one.signal('SIGCONT')
  for (const nodeId of world.nodeIds) if (!world.node(nodeId).isRunning) world.node(nodeId).launch()
  for (const client of world.clients) if (!client.isRunning) client.start()
  await replaceIfLost(world)
}

async function killAll({ world }: Scene): Promise<Begun> {
  await world.cluster.stop('SIGKILL')
  return { target: 'all nodes' }
}

async function killOthers({ world, victim }: Scene): Promise<Begun> {
  const rest = world.nodeIds.filter((nodeId) => nodeId !== victim)
  await Promise.all(rest.map((nodeId) => world.node(nodeId).stop('SIGKILL')))
  return { target: `all but ${nameOfNode(victim)}` }
}

function pause({ world, victim }: Scene): Begun {
  world.node(victim).signal('SIGSTOP')
  return { target: nameOfNode(victim) }
}

function pauseAll({ world }: Scene): Begun {
  for (const node of world.cluster.nodes) node.signal('SIGSTOP')
  return { target: 'all nodes' }
}

async function stop({ world, victim }: Scene): Promise<Begun> {
  // One that is paused as well would never hear of it.
  world.node(victim).signal('SIGCONT')
  await world.node(victim).stop('SIGTERM')
  return { target: nameOfNode(victim) }
}

async function restartAll({ world }: Scene): Promise<Begun> {
  for (const nodeId of world.nodeIds) {
    await world.node(nodeId).stop('SIGTERM')
    world.node(nodeId).launch()
    await until(async () => (await world.trouble()) === undefined, 60_000)
  }
  return { target: 'all nodes, one after the other' }
}

/** The replicas of some partitions change places, or one goes; afterwards there are three again. */
async function reassign({ world, chance }: Scene): Promise<Begun | undefined> {
  const { cluster } = world.admin.admin
  const partitions = (await world.partitions()).filter(({ topic }) => topic === TOPIC && chance() < 0.5)
  const change = async (partition: number, replicas: readonly number[]): Promise<boolean> =>
    cluster.reassign(TOPIC, partition, replicas).then(
      () => true,
      () => false,
    )
  const shuffled = (): number[] =>
    world.nodeIds
      .map((nodeId) => ({ nodeId, rank: chance() }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ nodeId }) => nodeId)
  let count = 0
  for (const { partition } of partitions) if (await change(partition, shuffled().slice(0, chance() < 0.5 ? 2 : 3))) count++
  if (count === 0) return undefined
  const restore = async (): Promise<void> => {
    for (const { partition } of partitions) await until(() => change(partition, shuffled()), 30_000)
  }
  return { target: `${count} partitions`, end: restore }
}

/** Without a commit, and in the middle of sends. They come back at the end of the period. */
async function killClients({ world, chance }: Scene): Promise<Begun> {
  const victims = world.clientsOf('producer', 'reader', 'member', 'keeper', 'registrar').filter(() => chance() < 0.3)
  await Promise.all(victims.map((client) => client.stop('SIGKILL')))
  return { target: victims.map(({ name }) => name).join(' ') || 'nobody' }
}

function pauseClients({ world, chance }: Scene): Begun {
  const victims = world.clientsOf('producer', 'reader', 'member', 'keeper', 'registrar').filter(() => chance() < 0.3)
  for (const client of victims) client.signal('SIGSTOP')
  return { target: victims.map(({ name }) => name).join(' ') || 'nobody' }
}

/** How long a period with faults lasts. Longer than a session more often than not. */
export function holdMs(chance: Chance): number {
  return between(chance, SESSION_MS * 0.4, SESSION_MS * 2.5)
}
