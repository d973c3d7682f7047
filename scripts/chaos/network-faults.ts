/**
 * Faults of the network between processes: who does not reach whom, and what becomes of connections and packets. `heal` of the network ends them. What a network
 * cannot do it says itself.
 */
import { between, type Chance, pick } from '../random.ts'
import { sleep } from './client-process.ts'
import type { Begun, Fault, Scene } from './fault.ts'
import type { Hit, Network } from './network.ts'
import { nameOfNode, type World } from './world.ts'

export const NETWORK_FAULTS: readonly Fault[] = [
  { kind: 'isolate', weight: 2, begin: isolate },
  { kind: 'split', weight: 2, begin: splitCluster },
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
  { kind: 'loss', weight: 2, begin: losePackets },
  { kind: 'duplicate', weight: 1, begin: doublePackets },
  { kind: 'corrupt', weight: 1, begin: corruptPackets },
  { kind: 'link-down', weight: 2, begin: unplug },
]

function split(network: Network, side: readonly string[], other: readonly string[]): void {
  network.cut(side, other)
  network.cut(other, side)
}

function others(world: World, victim: number): string[] {
  return world.nodeIds.filter((nodeId) => nodeId !== victim).map(nameOfNode)
}

/** From all other nodes and from all clients. */
function isolate({ world, victim }: Scene): Begun {
  const rest = [...others(world, victim), ...world.clients.map(({ name }) => name)]
  split(world.network, [nameOfNode(victim)], rest)
  return { target: nameOfNode(victim) }
}

/** A minority of one node and the majority of two, each with some of the clients. */
function splitCluster({ world, victim, chance }: Scene): Begun {
  const withVictim = world.clients.filter(() => chance() < 0.5)
  const rest = world.clients.filter((client) => !withVictim.includes(client))
  const side = [nameOfNode(victim), ...withVictim.map(({ name }) => name)]
  split(world.network, side, [...others(world, victim), ...rest.map(({ name }) => name)])
  return { target: `${nameOfNode(victim)} and ${withVictim.length} clients` }
}

/** Clients still reach it. */
function cutFromNodes({ world, victim }: Scene): Begun {
  split(world.network, [nameOfNode(victim)], others(world, victim))
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
  split(world.network, [nameOfNode(victim)], [other])
  return { target: `${nameOfNode(victim)} and ${other}` }
}

function cutClients({ world, victim, chance }: Scene): Begun {
  const cut = world.clients.filter(() => chance() < 0.5).map(({ name }) => name)
  split(world.network, cut, [nameOfNode(victim)])
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

function hitConnections(world: World, chance: Chance, what: Hit): Begun {
  const share = between(chance, 0.2, 1)
  return { target: `${world.network.each(what, () => chance() < share)} connections` }
}

/** Some of the packets from a node and to it. */
function losePackets({ world, victim, chance }: Scene): Begun {
  const share = between(chance, 0.02, 0.4)
  world.network.packets?.lose([nameOfNode(victim)], share)
  return { target: `${percent(share)} of ${nameOfNode(victim)}` }
}

function doublePackets({ world, chance }: Scene): Begun {
  const share = between(chance, 0.05, 0.5)
  world.network.packets?.double(share)
  return { target: percent(share) }
}

function corruptPackets({ world, victim, chance }: Scene): Begun {
  const share = between(chance, 0.01, 0.1)
  world.network.packets?.corrupt([nameOfNode(victim)], share)
  return { target: `${percent(share)} of ${nameOfNode(victim)}` }
}

function unplug({ world, victim }: Scene): Begun {
  world.network.packets?.unplug([nameOfNode(victim)])
  return { target: nameOfNode(victim) }
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}
