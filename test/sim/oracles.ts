/**
 * What must hold at every moment, whatever happens. Looked at after each event, so it has to be cheap.
 *
 * - One controller leads in a term, one node a partition in a leader epoch.
 * - Nodes that know the same version of the metadata know the same; it never goes back within a life.
 * - Of the metadata: a leader is in sync, who is fenced is in no ISR and leads nothing, an ISR that is large enough has no ELR beside it, epochs
 *   only grow.
 * - A high watermark never goes back while its leader leads; what it covers is on the disk of everybody that the controller counts on (ISR
 *   and ELR), and of the leader.
 */
import type { Partition } from '../../broker/partition.ts'
import type { MetadataImage, PartitionMetadata } from '../../controller/metadata/image.ts'
import { minInsyncOf } from '../../controller/metadata/min-insync.ts'
import { MetadataSnapshot } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { imageToSnapshot } from '../../controller/metadata/snapshot.ts'
import type { Life, SimNode } from './node.ts'

export class Broken extends Error {
  constructor(what: string) {
    super(what)
    this.name = 'Broken'
  }
}

/** What is looked at. */
export interface Watched {
  readonly nodes: readonly SimNode[]
  /** What a node knows. */
  imageOf(node: SimNode): MetadataImage | undefined
}

/** What nodes may say at level error when faults are in play that need a person. */
export type ExpectedError = (nodeId: number, event: string) => boolean

export class Oracles {
  readonly #cluster: Watched
  readonly #controllers = new Map<number, number>()
  readonly #leaders = new Map<string, number>()
  readonly #digests = new Map<number, string>()
  readonly #seen = new WeakMap<Life, MetadataImage>()
  /** Highest of each partition, by topic id and number. */
  readonly #committed = new Map<string, number>()
  readonly #watermarks = new WeakMap<object, { readonly epoch: number; readonly offset: number }>()
  #newest: MetadataImage | undefined
  #failure: Broken | undefined
  readonly #others: (() => void)[] = []
  expectsError: ExpectedError = () => false
  /** Records are lost that no rule can save, or an operator has chosen to lose: nobody can be asked to have everything. */
  acceptsLoss = false

  constructor(cluster: Watched) {
    this.#cluster = cluster
  }

  /** How far records of a partition were ever committed. */
  committed(topicId: string, partition: number): number {
    return this.#committed.get(`${topicId}-${partition}`) ?? 0
  }

  /** Something broke where nothing can be thrown: the next `check` does. */
  broke(what: string): void {
    this.#failure ??= new Broken(what)
  }

  /** Does `work`; should it throw, the next `check` does. */
  attempt(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.broke(error instanceof Error ? error.message : String(error))
    }
  }

  nodeSaid(nodeId: number, event: string, fields: Readonly<Record<string, unknown>>): void {
    if (!this.expectsError(nodeId, event))
      this.broke(`node ${nodeId} said ${event}: ${JSON.stringify(fields, (_, value) => (value instanceof Error ? value.message : value))}`)
  }

  /** Looked at after each event as well. */
  also(check: () => void): void {
    this.#others.push(check)
  }

  check(): void {
    for (const check of this.#others) check()
    if (this.#failure !== undefined) throw this.#failure
    for (const node of this.#cluster.nodes) this.#checkNode(node)
  }

  #checkNode(node: SimNode): void {
    const { life } = node
    if (life === undefined || !life.process.isAlive) return
    const leadership = life.inside?.controllerNode()?.log.leadership
    if (leadership?.isActive === true) only(this.#controllers, leadership.epoch, node.nodeId, `controllers of term ${leadership.epoch}`)
    this.#checkMetadata(node, life)
    if (life.isStarted) this.#checkPartitions(node)
  }

  #checkMetadata(node: SimNode, life: Life): void {
    const image = this.#cluster.imageOf(node)
    if (image === undefined) return
    const before = this.#seen.get(life)
    if (before === image) return
    this.#seen.set(life, image)
    must(
      before === undefined || image.version >= before.version,
      `node ${node.nodeId} goes back to version ${image.version} of the metadata`,
    )
    const digest = digestOf(image)
    const known = this.#digests.get(image.version)
    must(
      known === undefined || known === digest,
      `node ${node.nodeId} knows another version ${image.version} of the metadata than others do`,
    )
    this.#digests.set(image.version, digest)
    if (known === undefined) checkImage(image, this.acceptsLoss)
    if (before !== undefined) checkGrowth(before, image)
    if (this.#newest === undefined || image.version > this.#newest.version) this.#newest = image
  }

  #checkPartitions(node: SimNode): void {
    const partitions = node.life?.inside?.broker()?.partitions
    if (partitions === undefined) return
    for (const partition of partitions.open()) {
      const name = `${partition.topicId}-${partition.partition}`
      if (partition.isLeader) {
        only(
          this.#leaders,
          `${name} epoch ${partition.leaderEpoch}`,
          node.nodeId,
          `leaders of ${partition.name} in epoch ${partition.leaderEpoch}`,
        )
        const { highWatermark, leaderEpoch } = partition
        const before = this.#watermarks.get(partition)
        must(
          before === undefined || before.epoch !== leaderEpoch || highWatermark >= before.offset,
          `the high watermark of ${partition.name} goes back from ${before?.offset} to ${highWatermark} on node ${node.nodeId}`,
        )
        if (before?.offset !== highWatermark || before.epoch !== leaderEpoch)
          this.#watermarks.set(partition, { epoch: leaderEpoch, offset: highWatermark })
        if (highWatermark > (this.#committed.get(name) ?? 0)) this.#committed.set(name, highWatermark)
      }
      this.#checkCounted(node, partition, name)
    }
  }

  /** Whoever the controller counts on, and knows that it does, has what is committed. */
  #checkCounted(node: SimNode, partition: Partition, name: string): void {
    const committed = this.#committed.get(name)
    if (
      this.acceptsLoss ||
      committed === undefined ||
      partition.isChanging ||
      partition.isRetired ||
      partition.log.flushedOffset >= committed
    )
      return
    const topic = this.#newest?.topics.get(partition.topic)
    const state = topic?.topicId === partition.topicId ? topic.partitions[partition.partition] : undefined
    if (state === undefined || state.leaderEpoch !== partition.leaderEpoch || topic?.config.durability !== 'fsync') return
    must(
      !state.isr.includes(node.nodeId) && !state.elr.includes(node.nodeId),
      `node ${node.nodeId} is counted on for ${partition.name} (ISR ${state.isr.join()}, ELR ${state.elr.join()}) and has ${partition.log.flushedOffset} of ${committed} committed records`,
    )
  }
}

function only<Key>(holders: Map<Key, number>, key: Key, nodeId: number, what: string): void {
  const holder = holders.get(key)
  must(holder === undefined || holder === nodeId, `two ${what}: node ${holder} and node ${nodeId}`)
  if (holder === undefined) holders.set(key, nodeId)
}

function checkImage(image: MetadataImage, acceptsLoss: boolean): void {
  for (const topic of image.topics.values()) {
    for (const [number, state] of topic.partitions.entries()) {
      const name = `${topic.name}-${number} in version ${image.version}`
      const { leader, isr, elr, replicas } = state
      must(leader < 0 || isr.includes(leader), `${name} is led by ${leader}, which is not in sync (${isr.join()})`)
      for (const id of isr) {
        must(replicas.includes(id), `${name}: ${id} is in sync and no replica`)
        must(image.nodes.get(id)?.fenced !== true, `${name}: ${id} is fenced and in sync`)
      }
      must(leader < 0 || image.nodes.get(leader)?.fenced !== true, `${name}: its leader ${leader} is fenced`)
      must(!elr.some((id) => isr.includes(id)), `${name}: ISR ${isr.join()} and ELR ${elr.join()} overlap`)
      must(
        isr.length < minInsyncOf(topic.config, replicas.length) || elr.length === 0,
        `${name}: enough in sync (${isr.join()}), and ELR ${elr.join()}`,
      )
      must(acceptsLoss || isr.length > 0 || elr.length > 0, `${name}: nobody is left who has everything`)
    }
  }
}

function checkGrowth(before: MetadataImage, now: MetadataImage): void {
  for (const topic of now.topics.values()) {
    const earlier = before.topics.get(topic.name)
    if (earlier?.topicId !== topic.topicId || earlier === topic) continue
    for (const [number, state] of topic.partitions.entries()) {
      const was: PartitionMetadata | undefined = earlier.partitions[number]
      if (was === undefined || was === state) continue
      // A snapshot makes other objects of the same state.
      must(
        state.partitionEpoch > was.partitionEpoch || isSameState(state, was),
        `${topic.name}-${number} changed in partition epoch ${was.partitionEpoch}`,
      )
      must(state.leaderEpoch >= was.leaderEpoch, `${topic.name}-${number} goes back to leader epoch ${state.leaderEpoch}`)
      must(
        state.leader === was.leader || state.leaderEpoch > was.leaderEpoch,
        `${topic.name}-${number} has another leader in the same epoch`,
      )
    }
  }
}

function isSameState(one: PartitionMetadata, other: PartitionMetadata): boolean {
  return one.partitionEpoch === other.partitionEpoch && JSON.stringify(one) === JSON.stringify(other)
}

/** The same for the same metadata, however it was come by. */
function digestOf(image: MetadataImage): string {
  return Buffer.from(MetadataSnapshot.encode(imageToSnapshot(image)).finish()).toString('latin1')
}

export function must(holds: boolean, otherwise: string): void {
  if (!holds) throw new Broken(otherwise)
}
