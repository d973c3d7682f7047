/**
 * The faults of a run, each with how it begins and how it ends. Everything here is something that three nodes with durability `fsync` have to survive without
 * losing an acknowledged record. `alone`: not together with others, because two of them could take away what nobody else has.
 */
import { sleep } from './client-process.ts'
import { damage, fillDisk, moveClock, replaceIfLost } from './disk-faults.ts'
import { between, type Chance, pick } from '../random.ts'
import type { Begun, Fault, Scene } from './fault.ts'
import { nameOfNode, SESSION_MS, TOPIC, until, type World } from './world.ts'

const kill = async ({ world, victim }: Scene): Promise<Begun> => {
  await world.node(victim).stop('SIGKILL')
  return { target: nameOfNode(victim) }
}

export const FAULTS: readonly Fault[] = [
  { kind: 'kill', weight: 3, begin: kill },
  { kind: 'kill-controller', weight: 2, hitsController: true, begin: kill },
  { kind: 'kill-all', weight: 1, begin: killAll },
  { kind: 'pause', weight: 2, begin: pause },
  { kind: 'pause-controller', weight: 1, hitsController: true, begin: pause },
  { kind: 'stop', weight: 1, begin: stop },
  { kind: 'rolling-restart', weight: 1, alone: true, begin: restartAll },
  { kind: 'isolate', weight: 2, begin: isolate },
  { kind: 'split', weight: 2, begin: split },
  { kind: 'isolate-controller', weight: 1, hitsController: true, begin: cutFromNodes },
  { kind: 'one-way', weight: 2, begin: cutOneWay },
  { kind: 'not-transitive', weight: 1, begin: cutOneLink },
  { kind: 'cut-clients', weight: 1, begin: cutClients },
  { kind: 'blips', weight: 1, begin: blips },
  { kind: 'slow-network', weight: 1, begin: slowNetwork },
  { kind: 'reset', weight: 1, begin: ({ world, chance }) => hitConnections(world, chance, 'reset') },
  { kind: 'half-open', weight: 1, begin: ({ world, chance }) => hitConnections(world, chance, 'half-open') },
  {
    kind: 'cut-after-bytes',
    weight: 1,
    begin: ({ world, chance }) => hitConnections(world, chance, { cutAfterBytes: Math.floor(between(chance, 1, 20_000)) }),
  },
  { kind: 'clock', weight: 1, begin: moveClock },
  { kind: 'reassign', weight: 1, begin: reassign },
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

function pause({ world, victim }: Scene): Begun {
  world.node(victim).signal('SIGSTOP')
  return { target: nameOfNode(victim) }
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

function others(world: World, victim: number): string[] {
  return world.nodeIds.filter((nodeId) => nodeId !== victim).map(nameOfNode)
}

/** From all other nodes and from all clients. */
function isolate({ world, victim }: Scene): Begun {
  const rest = [...others(world, victim), ...world.clients.map(({ name }) => name)]
  world.network.split([nameOfNode(victim)], rest)
  return { target: nameOfNode(victim) }
}

/** A minority of one node and the majority of two, each with some of the clients. */
function split({ world, victim, chance }: Scene): Begun {
  const withVictim = world.clients.filter(() => chance() < 0.5)
  const rest = world.clients.filter((client) => !withVictim.includes(client))
  const side = [nameOfNode(victim), ...withVictim.map(({ name }) => name)]
  world.network.split(side, [...others(world, victim), ...rest.map(({ name }) => name)])
  return { target: `${nameOfNode(victim)} and ${withVictim.length} clients` }
}

/** Clients still reach it. */
function cutFromNodes({ world, victim }: Scene): Begun {
  world.network.split([nameOfNode(victim)], others(world, victim))
  return { target: nameOfNode(victim) }
}

function cutOneWay({ world, victim, chance }: Scene): Begun {
  const isOutward = chance() < 0.5
  if (isOutward) world.network.cut([nameOfNode(victim)], others(world, victim))
  else world.network.cut(others(world, victim), [nameOfNode(victim)])
  return { target: `${isOutward ? 'from' : 'to'} ${nameOfNode(victim)}` }
}

/** Two nodes that both reach the third do not reach each other. Of a ring of majorities this is what three nodes can have. */
function cutOneLink({ world, victim, chance }: Scene): Begun {
  const other = pick(chance, others(world, victim))
  world.network.split([nameOfNode(victim)], [other])
  return { target: `${nameOfNode(victim)} and ${other}` }
}

function cutClients({ world, victim, chance }: Scene): Begun {
  const cut = world.clients.filter(() => chance() < 0.5).map(({ name }) => name)
  world.network.split(cut, [nameOfNode(victim)])
  return { target: `${cut.length} clients from ${nameOfNode(victim)}` }
}

/** One after the other, of 1 to 200 ms. */
async function blips(scene: Scene): Promise<Begun> {
  for (let left = 8; left > 0; left--) {
    isolate(scene)
    await sleep(between(scene.chance, 1, 200))
    scene.world.network.heal()
    await sleep(between(scene.chance, 10, 200))
  }
  return { target: nameOfNode(scene.victim) }
}

function slowNetwork({ world, chance }: Scene): Begun {
  const delayMs = Math.round(between(chance, 5, 80))
  const bytesPerSecond = Math.round(between(chance, 50_000, 1_000_000))
  world.network.slow(delayMs, bytesPerSecond)
  return { target: `${delayMs} ms, ${bytesPerSecond} bytes/s` }
}

function hitConnections(world: World, chance: Chance, what: Parameters<World['network']['each']>[0]): Begun {
  const share = between(chance, 0.2, 1)
  return { target: `${world.network.each(what, () => chance() < share)} connections` }
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
  const victims = world.clientsOf('producer', 'reader', 'member').filter(() => chance() < 0.3)
  await Promise.all(victims.map((client) => client.stop('SIGKILL')))
  return { target: victims.map(({ name }) => name).join(' ') || 'nobody' }
}

function pauseClients({ world, chance }: Scene): Begun {
  const victims = world.clientsOf('producer', 'reader', 'member').filter(() => chance() < 0.3)
  for (const client of victims) client.signal('SIGSTOP')
  return { target: victims.map(({ name }) => name).join(' ') || 'nobody' }
}

/** How long a period with faults lasts. Longer than a session more often than not. */
export function holdMs(chance: Chance): number {
  return between(chance, SESSION_MS * 0.4, SESSION_MS * 2.5)
}
