/**
 * What goes wrong in a run, and how often. Everything here is something that three nodes with durability `fsync` have to survive without losing an
 * acknowledged record; damage to the records themselves has scenarios of its own.
 */
import type { SimClient, SimCluster } from './cluster.ts'
import type { SimDisk } from './disk.ts'
import type { SimNode } from './node.ts'
import { reasonOf } from './trace.ts'
import { between, type Chance, pick, pickWeighted } from '../../scripts/random.ts'

interface Fault {
  readonly name: string
  /** How often, beside the others. */
  readonly weight: number
  begin(faults: Faults, node: SimNode): void
}

const FAULTS: readonly Fault[] = [
  { name: 'kill', weight: 3, begin: ({ cluster }, node) => (node.kill(), cluster.trace.say(`n${node.nodeId}`, 'KILLED')) },
  { name: 'power', weight: 3, begin: ({ cluster }, node) => (node.losePower(), cluster.trace.say(`n${node.nodeId}`, 'POWER LOST')) },
  { name: 'power of all', weight: 0.4, begin: (faults) => faults.losePowerOfAll() },
  { name: 'stop', weight: 1.5, begin: (faults, node) => faults.stop(node) },
  { name: 'pause', weight: 2, begin: (faults, node) => faults.pause(node) },
  { name: 'lead and die', weight: 1, begin: (faults, node) => faults.leadAndDie(node) },
  { name: 'isolate', weight: 1.5, begin: (faults, node) => faults.isolate(node) },
  { name: 'one way', weight: 1.5, begin: (faults, node) => faults.cutOneWay(node) },
  { name: 'not transitive', weight: 1, begin: (faults, node) => faults.cutOneLink(node) },
  { name: 'blip', weight: 1.5, begin: (faults, node) => faults.blip(node) },
  { name: 'reset', weight: 1.5, begin: ({ cluster, chance }) => cluster.network.resetSome(chance()) },
  { name: 'slow disk', weight: 1, begin: (faults, node) => faults.slowDisk(node) },
  { name: 'slow network', weight: 0.7, begin: (faults) => faults.slowNetwork() },
  { name: 'disk fails', weight: 0.8, begin: (faults, node) => faults.failDisk(node) },
  { name: 'disk lost', weight: 0.25, begin: (faults, node) => faults.loseDisk(node) },
  { name: 'clock', weight: 0.7, begin: (faults, node) => faults.moveClock(node) },
]

/** What a node says whose disk fails. */
const DISK_EVENTS: ReadonlySet<string> = new Set(['storage.failed', 'partition.open-failed', 'retention.failed'])

const DISK_LOOK_MS = 300

export class Faults {
  readonly cluster: SimCluster
  readonly chance: Chance
  readonly #failingDisks = new Set<SimDisk>()
  count = 0
  #isPeace = false
  #withoutDisk: SimNode | undefined
  #isReplacing = false
  #isReplaced = false
  #operator: SimClient | undefined

  constructor(cluster: SimCluster, chance: Chance) {
    this.cluster = cluster
    this.chance = chance
    // A disk that fails is said aloud; nothing else is.
    cluster.oracles.expectsError = (nodeId, event) => {
      const node = cluster.node(nodeId)
      return (this.#failingDisks.has(node.disk) && DISK_EVENTS.has(event)) || (node === this.#withoutDisk && event === 'cluster.lost')
    }
  }

  /** One more; or some relief. */
  step(): void {
    const { cluster, chance } = this
    const node = pick(chance, cluster.nodes)
    if (chance() < 0.35) {
      this.relieve(node)
      return
    }
    const fault = pickWeighted(chance, FAULTS)
    this.count++
    cluster.trace.say('!', `${fault.name}, n${node.nodeId}`)
    fault.begin(this, node)
  }

  /** A node comes back, or the network is whole again. */
  relieve(node: SimNode): void {
    const { cluster, chance } = this
    const failed = cluster.nodes.find(({ hasFailedDisk }) => hasFailedDisk)
    if (failed !== undefined) failed.kill()
    const down = cluster.nodes.filter((one) => !isAlive(one))
    if (down.length > 0 && chance() < 0.8) this.start(pick(chance, down))
    else if (chance() < 0.5) cluster.network.heal()
    else {
      node.disk.slowness = 1
      cluster.network.slowness = 1
      node.life?.process.resume()
    }
  }

  /** All is well from here on. */
  heal(): void {
    const { cluster } = this
    this.#isPeace = true
    cluster.trace.say('!', 'all is well')
    cluster.network.heal()
    cluster.network.slowness = 1
    for (const node of cluster.nodes) {
      node.disk.slowness = 1
      node.life?.process.resume()
      if (!isAlive(node) || (node === this.#withoutDisk && !this.#isReplaced)) this.start(node)
    }
    this.#replaceFailedDisks()
  }

  /** Some fail only now. */
  #replaceFailedDisks(): void {
    const { cluster } = this
    for (const node of cluster.nodes) {
      if (!node.hasFailedDisk) continue
      node.kill()
      this.start(node)
    }
    cluster.time.after(DISK_LOOK_MS, () => this.#replaceFailedDisks())
  }

  /** As whoever looks after a node does. One that lost its disk is let in anew. */
  start(node: SimNode): void {
    if (node === this.#withoutDisk && !this.#isReplaced) {
      if (!this.#isReplacing) void this.#replace(node)
      this.#isReplacing = true
      return
    }
    node.start()
    this.cluster.trace.say(`n${node.nodeId}`, 'STARTED')
  }

  losePowerOfAll(): void {
    for (const node of this.cluster.nodes) node.losePower()
    this.cluster.trace.say('!', 'POWER LOST everywhere')
  }

  stop(node: SimNode): void {
    if (!node.isUp) return
    this.cluster.trace.say(`n${node.nodeId}`, 'STOPPING')
    void node.stop().then(() => {
      if (this.#isPeace && !isAlive(node)) this.start(node)
    })
  }

  pause(node: SimNode): void {
    const { process } = node.life ?? {}
    if (process === undefined || process.isPaused) return
    process.pause()
    const pauseMs = this.chance() < 0.5 ? between(this.chance, 20, 600) : between(this.chance, 1500, 4000)
    this.cluster.time.after(pauseMs, () => process.resume())
  }

  isolate({ nodeId }: SimNode): void {
    const others = this.#hosts().filter((host) => host !== `n${nodeId}`)
    this.cluster.split([`n${nodeId}`], others)
  }

  cutOneWay({ nodeId }: SimNode): void {
    for (const host of this.#hosts()) {
      if (host === `n${nodeId}`) continue
      if (this.chance() < 0.5) this.cluster.network.cut(`n${nodeId}`, host)
      else if (this.chance() < 0.3) this.cluster.network.cut(host, `n${nodeId}`)
    }
  }

  /** Two nodes that both reach the third do not reach each other. */
  cutOneLink({ nodeId }: SimNode): void {
    const other = pick(this.chance, this.cluster.nodes)
    if (other.nodeId !== nodeId) this.cluster.split([`n${nodeId}`], [`n${other.nodeId}`])
  }

  blip(node: SimNode): void {
    this.isolate(node)
    this.cluster.time.after(between(this.chance, 1, 200), () => this.cluster.network.heal())
  }

  slowDisk({ disk }: SimNode): void {
    disk.slowness = between(this.chance, 10, 200)
  }

  slowNetwork(): void {
    this.cluster.network.slowness = between(this.chance, 5, 60)
  }

  /** The next syncs of a log, or writes to it, fail. */
  failDisk({ disk, isUp }: SimNode): void {
    if (!isUp) return
    const operation = this.chance() < 0.7 ? 'datasync' : 'write'
    this.#failingDisks.add(disk)
    disk.files.inject({ operation, code: 'EIO', pathEnd: '.log' })
  }

  /** Once in a run, where one in sync is never enough, and only while every record is on two other disks. */
  loseDisk(node: SimNode): void {
    const { cluster } = this
    const others = cluster.nodes.filter((one) => one !== node)
    const isSafe = [...cluster.image.topics.values()].every(({ partitions }) =>
      partitions.every(({ isr, replicas }) => replicas.every((id) => isr.includes(id)) && replicas.length >= 3),
    )
    if (cluster.seed % 2 === 0 || this.#withoutDisk !== undefined || !isSafe || !others.every(({ isUp }) => isUp) || !cluster.isWhole)
      return
    node.loseDisk()
    this.#withoutDisk = node
    cluster.trace.say(`n${node.nodeId}`, 'DISK LOST')
    // Somebody starts it as if nothing had happened. It is turned away, again and again.
    if (this.chance() < 0.6) node.start()
  }

  /** Becomes leader, takes records perhaps, and is gone before the others have them. */
  leadAndDie(node: SimNode): void {
    const { cluster } = this
    const [topic] = [...cluster.image.topics.values()].filter(({ partitions }) => partitions[0]?.isr.includes(node.nodeId))
    const replicas = topic?.partitions[0]?.replicas
    if (topic === undefined || replicas === undefined || !node.isUp) return
    const { tm, process } = this.#operatorNow()
    const order = [node.nodeId, ...replicas.filter((id) => id !== node.nodeId)]
    const lead = async (): Promise<void> => {
      await tm.admin.cluster.reassign(topic.name, 0, order)
      await tm.admin.cluster.electLeaders([{ topic: topic.name, partitions: [0] }])
      const { life } = node
      process.timers.after(between(this.chance, 0, 25), () => {
        if (node.life !== life || this.#isPeace) return
        cluster.trace.say(`n${node.nodeId}`, 'LED, AND DIES')
        if (this.chance() < 0.5) node.kill()
        else node.losePower()
      })
    }
    lead().catch((error: unknown) => cluster.trace.say('op', `cannot make n${node.nodeId} lead: ${reasonOf(error)}`))
  }

  #operatorNow(): SimClient {
    this.#operator ??= this.cluster.openClient('op')
    return this.#operator
  }

  /** The operator takes the controller whose votes are lost out of the quorum, and starts the node as one that joins. */
  async #replace(node: SimNode): Promise<void> {
    const { cluster } = this
    const { process, tm } = this.#operatorNow()
    if (isAlive(node)) node.kill()
    for (let isOut = false; !isOut; ) {
      try {
        await tm.admin.cluster.removeController(node.nodeId)
        isOut = true
      } catch (error) {
        cluster.trace.say('op', `n${node.nodeId} is not out of the quorum: ${reasonOf(error)}`)
        await new Promise<void>((resolve) => process.timers.after(500, resolve))
        const members = await tm.admin.cluster.describeQuorum().then(
          (quorum) => quorum.members,
          () => undefined,
        )
        isOut = members?.every(({ nodeId }) => nodeId !== node.nodeId) === true
      }
    }
    node.join = cluster.nodes.filter((one) => one !== node).map(({ nodeId }) => nodeId)
    this.#isReplaced = true
    // Whoever looks after processes may have started it meanwhile, as it was.
    if (isAlive(node)) node.kill()
    this.start(node)
  }

  moveClock({ life }: SimNode): void {
    if (life !== undefined) life.process.wallOffsetMs = between(this.chance, -3_600_000, 3_600_000)
  }

  #hosts(): string[] {
    return this.cluster.nodes.map(({ nodeId }) => `n${nodeId}`)
  }
}

function isAlive({ life }: SimNode): boolean {
  return life?.process.isAlive === true
}
