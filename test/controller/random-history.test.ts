/**
 * Whatever happens to a cluster: after every batch leaders, ISR and ELR are in order, and whoever may lead has everything that was
 * committed. Beside the image runs a model of the logs: how many records each replica has.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { alterNodes } from '../../controller/metadata/alter-nodes.ts'
import { alterConfigs } from '../../controller/metadata/configs.ts'
import { drainReplicas, fillNodes, preferLeaders } from '../../controller/metadata/duties.ts'
import type { MetadataImage, NodeMetadata, PartitionMetadata, TopicMetadata } from '../../controller/metadata/image.ts'
import { alterPartitions } from '../../controller/metadata/alter-partitions.ts'
import { distrustReplicas } from '../../controller/metadata/distrust-replicas.ts'
import { electLeaders } from '../../controller/metadata/elections.ts'
import { isMoving } from '../../controller/metadata/lookup.ts'
import { fenceNodes } from '../../controller/metadata/node-states.ts'
import { heartbeat, registerNode } from '../../controller/metadata/nodes.ts'
import { minIsrOf } from '../../controller/metadata/partition-change.ts'
import { reassign } from '../../controller/metadata/reassign.ts'
import { imageFromSnapshot, imageToSnapshot } from '../../controller/metadata/snapshot.ts'
import { createTopics } from '../../controller/metadata/topics.ts'
import { ConfigScope, ElectionType, NodeAction } from '../../protocol/gen/tidemark/v1/cluster.ts'
import type { MetadataRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { invariant } from '../../runtime/invariant.ts'
import { clusterOf, commit, createContext, idOf, requestOf } from './fixtures.ts'

const PARTITIONS = 2

const node = fc.integer({ min: 1, max: 5 })
const partition = fc.integer({ min: 0, max: PARTITIONS - 1 })
const nodes = fc.shuffledSubarray([1, 2, 3, 4, 5], { minLength: 1 })
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ what: fc.constant('silent' as const), nodes: fc.subarray([1, 2, 3, 4, 5]) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      what: fc.constant('beat' as const),
      node,
      isCurrent: fc.boolean(),
      wantFence: fc.boolean(),
      wantShutdown: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      what: fc.constant('register' as const),
      node,
      disk: fc.constantFrom('same', 'wiped', 'older'),
      isClean: fc.boolean(),
    }),
  },
  { weight: 8, arbitrary: fc.record({ what: fc.constant('isr' as const), partition, nodes, isStale: fc.nat(9).map((n) => n === 0) }) },
  { weight: 8, arbitrary: fc.record({ what: fc.constant('write' as const), partition }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('reassign' as const), partition, nodes }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('cancel' as const), partition }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('minIsr' as const), value: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('elect' as const), isUnclean: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('damage' as const), node, partition, isFoundByLeader: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      what: fc.constant('node' as const),
      node,
      action: fc.constantFrom(NodeAction.DRAIN, NodeAction.UNDRAIN, NodeAction.REMOVE),
    }),
  },
  { weight: 4, arbitrary: fc.record({ what: fc.constant('duty' as const), filling: node }) },
)
type Step = typeof step extends fc.Arbitrary<infer One> ? One : never

class World {
  image: MetadataImage
  readonly #nodeCount: number
  #disks = 0
  #isDistrusting = false
  /** Partitions of which nobody has everything any more. */
  readonly #lost = new Set<number>()
  /** Records that were acknowledged, by partition. */
  readonly #committed = Array<number>(PARTITIONS).fill(0)
  /** Records of each replica, by partition and node. */
  readonly #lengths = Array.from({ length: PARTITIONS }, () => new Map<number, number>())

  constructor(nodeCount: number, configs: Record<string, string>) {
    const empty = clusterOf(nodeCount)
    const topic = { name: 'orders', partitions: PARTITIONS, replicas: Math.min(3, nodeCount), configs }
    this.#nodeCount = nodeCount
    this.image = commit(empty, createTopics(empty, { topics: [topic], validateOnly: false }, createContext()))
  }

  get topic(): TopicMetadata {
    return this.image.topics.get('orders') as TopicMetadata
  }

  partition(number: number): PartitionMetadata {
    return this.topic.partitions[number] as PartitionMetadata
  }

  node(nodeId: number): NodeMetadata | undefined {
    return this.image.nodes.get(nodeId)
  }

  /** One batch, or none when there is nothing to record or the request is refused. */
  commit(decide: () => readonly MetadataRecord[]): void {
    let records: readonly MetadataRecord[]
    try {
      records = decide()
    } catch (error) {
      if (!TidemarkError.is(error)) throw error
      return
    }
    const before = this.topic.partitions
    this.image = commit(this.image, { records })
    for (const [number, state] of this.topic.partitions.entries()) this.#check(state, before[number] as PartitionMetadata, number)
  }

  do(one: Step): void {
    const { image } = this
    switch (one.what) {
      case 'silent':
        return this.commit(() => fenceNodes(image, one.nodes))
      case 'beat':
        return this.beat(one.node, one)
      case 'register':
        return this.#register(one)
      case 'isr':
        return this.#changeIsr(one.partition, one.nodes, one.isStale)
      case 'write':
        return this.#write(one.partition)
      case 'reassign':
        return this.commit(
          () => reassign(image, { partitions: [{ topic: 'orders', partition: one.partition, replicas: one.nodes }] }).records,
        )
      case 'cancel':
        return this.commit(() => reassign(image, { partitions: [{ topic: 'orders', partition: one.partition, replicas: [] }] }).records)
      case 'minIsr':
        return this.setMinIsr(one.value)
      case 'elect':
        return one.isUnclean
          ? this.#electUnclean()
          : this.commit(() => electLeaders(image, { type: ElectionType.PREFERRED, topics: [] }).records)
      case 'damage':
        return this.#damage(one)
      case 'node':
        return this.commit(() => alterNodes(image, { nodes: [{ nodeId: one.node, action: one.action }] }).records)
      case 'duty':
        return this.doDuties([one.filling])
    }
  }

  beat(nodeId: number, wants: { isCurrent: boolean; wantFence: boolean; wantShutdown: boolean }): void {
    const nodeEpoch = this.node(nodeId)?.nodeEpoch ?? 0
    const metadataVersion = wants.isCurrent ? this.image.version : nodeEpoch - 1
    this.commit(() => heartbeat(this.image, { clusterId: '', nodeId, nodeEpoch, metadataVersion, ...wants }).records)
  }

  setMinIsr(value: number): void {
    const resource = { scope: ConfigScope.TOPIC, name: 'orders' }
    const resources = [{ resource, set: { 'min.insync.replicas': String(value) }, reset: [] }]
    this.commit(() => alterConfigs(this.image, { resources, validateOnly: false }).records)
  }

  doDuties(filling: readonly number[]): void {
    this.commit(() => preferLeaders(this.image))
    this.commit(() => drainReplicas(this.image))
    this.commit(() => fillNodes(this.image, filling).records)
  }

  /** Every replica alive catches up, and the leader says so. */
  catchUp(): void {
    for (let number = 0; number < PARTITIONS; number++) this.#changeIsr(number, [...this.partition(number).replicas], false)
  }

  #register({ node: nodeId, disk, isClean }: Extract<Step, { what: 'register' }>): void {
    if (nodeId > this.#nodeCount) return
    const before = this.node(nodeId)
    const directoryId = disk !== 'same' || before === undefined ? idOf(9000 + this.#disks++) : before.directoryId
    const imageOf = disk === 'older' && before !== undefined ? before.directoryId : ''
    const request = requestOf(nodeId, { directoryId, imageOf, cleanShutdownEpoch: isClean ? (before?.nodeEpoch ?? 0) : 0 })
    const { version } = this.image
    const mayLose = !isClean && this.topic.config.durability !== 'fsync'
    const lengths = this.#lengths.map((replicas) => replicas.get(nodeId) ?? 0)
    const complete = this.topic.partitions.map(({ isr, elr }) => [...isr, ...elr])
    // The disk is as it is before anybody is told.
    for (const [number, replicas] of this.#lengths.entries()) {
      const isLast = complete[number]?.every((id) => id === nodeId) ?? false
      // Who is the last to have anything is kept, whatever is left of it; what it lost is lost.
      if (disk === 'wiped' || (mayLose && !isLast)) replicas.set(nodeId, 0)
      else if (disk === 'older') replicas.set(nodeId, Math.floor((replicas.get(nodeId) ?? 0) / 2))
      // Only an operator can say that this shall do.
      if (disk === 'older' && isLast && before !== undefined) this.#lost.add(number)
    }
    this.commit(() => registerNode(this.image, request, () => false).records)
    // Refused: the old disk is put back.
    if (this.image.version === version) for (const [number, replicas] of this.#lengths.entries()) replicas.set(nodeId, lengths[number] ?? 0)
  }

  #changeIsr(number: number, wanted: readonly number[], isStale: boolean): void {
    const { leader, leaderEpoch, partitionEpoch, replicas } = this.partition(number)
    if (leader < 0) return
    const isr = [leader, ...wanted.filter((id) => id !== leader && replicas.includes(id) && this.node(id)?.fenced === false)]
    for (const id of isr) this.#lengths[number]?.set(id, this.#lengths[number]?.get(leader) ?? 0)
    const states = isr.map((nodeId) => ({ nodeId, nodeEpoch: this.node(nodeId)?.nodeEpoch ?? 0 }))
    const change = {
      topicId: this.topic.topicId,
      partition: number,
      leaderEpoch,
      partitionEpoch: partitionEpoch - (isStale ? 1 : 0),
      isr: states,
    }
    const nodeEpoch = this.node(leader)?.nodeEpoch ?? 0
    this.commit(() => alterPartitions(this.image, { clusterId: '', nodeId: leader, nodeEpoch, partitions: [change] }).records)
  }

  /** A copy turns out to be worth nothing; unless nobody else alive has everything, it begins anew. */
  #damage({ node: replicaId, partition: number, isFoundByLeader }: Extract<Step, { what: 'damage' }>): void {
    const { leader, leaderEpoch, isr, elr, replicas } = this.partition(number)
    const senderId = isFoundByLeader ? leader : replicaId
    if (!replicas.includes(replicaId) || this.node(senderId) === undefined) return
    const nodeEpoch = this.node(senderId)?.nodeEpoch ?? 0
    const request = {
      clusterId: '',
      nodeId: senderId,
      nodeEpoch,
      replicas: [{ topicId: this.topic.topicId, partition: number, replicaId, leaderEpoch }],
    }
    const { records, response } = distrustReplicas(this.image, request)
    const isRefused = response.replicas[0]?.error !== undefined
    const others = [...isr, ...elr].filter((id) => id !== replicaId && this.node(id)?.fenced === false && !this.node(id)?.shuttingDown)
    invariant(!isRefused || others.length === 0, 'it is refused only where it is the best there is')
    if (!isRefused) this.#lengths[number]?.set(replicaId, 0)
    this.#isDistrusting = true
    this.commit(() => records)
    this.#isDistrusting = false
    const after = this.partition(number)
    if (!isRefused) invariant(!after.isr.includes(replicaId) && !after.elr.includes(replicaId), 'nobody counts on it any more')
  }

  /** A record is committed once all in sync have it, if they are enough; the others do not get it. */
  #write(number: number): void {
    const { leader, isr, replicas } = this.partition(number)
    if (leader < 0 || isr.length < minIsrOf(this.topic, replicas)) return
    this.#committed[number] = (this.#committed[number] as number) + 1
    for (const id of isr) this.#lengths[number]?.set(id, this.#committed[number] as number)
  }

  #electUnclean(): void {
    const offline = this.topic.partitions.map(({ leader }) => leader < 0)
    // What the new leader lacks is lost: the operator said so.
    const decision = electLeaders(this.image, { type: ElectionType.UNCLEAN, topics: [] })
    for (const { partition: number, leader } of decision.response.partitions) {
      expect(offline[number]).toBe(true)
      this.#committed[number] = this.#lengths[number]?.get(leader) ?? 0
      if (leader >= 0) this.#lost.delete(number)
    }
    this.commit(() => decision.records)
  }

  #check(after: PartitionMetadata, before: PartitionMetadata, number: number): void {
    const { leader, leaderEpoch, partitionEpoch, isr, elr, replicas, addingReplicas, removingReplicas } = after
    if (leader >= 0) invariant(isr.includes(leader), 'the leader is in sync')
    else invariant(isr.length === 0, 'without a leader nobody is in sync')
    const mayLead = isr.filter((id) => this.node(id)?.shuttingDown === false)
    invariant(mayLead.length === 0 || mayLead.length === isr.length, 'who shuts down is in sync only where nobody else is')
    invariant(new Set([...isr, ...elr]).size === isr.length + elr.length, 'nobody is in the ISR and the ELR')
    for (const id of [...isr, ...elr, ...addingReplicas, ...removingReplicas]) invariant(replicas.includes(id), `node ${id} is a replica`)
    const isEnough = isr.length >= minIsrOf(this.topic, replicas)
    if (isEnough) invariant(elr.length === 0, 'enough are in sync, nobody is eligible')
    invariant(isr.length + elr.length > 0 !== this.#lost.has(number), 'somebody is known to have everything, unless it was the only copy')
    for (const id of isr) invariant(this.node(id)?.fenced === false, `node ${id} is in sync and alive`)
    for (const id of [...isr, ...elr]) {
      const length = this.#lengths[number]?.get(id) ?? 0
      invariant(length >= (this.#committed[number] as number), `node ${id} may lead and has all that is committed`)
    }
    if (after === before) return
    invariant(partitionEpoch > before.partitionEpoch, 'every change has a partition epoch')
    const gone = before.replicas.filter((id) => !replicas.includes(id))
    const mustStartAnew = leader !== before.leader || gone.length > 0 || this.#isDistrusting
    invariant(leaderEpoch - before.leaderEpoch === (mustStartAnew ? 1 : 0), 'another leader or a replica less is another leader epoch')
    if (gone.some((id) => before.isr.includes(id))) invariant(isEnough, 'no move ends with too few in sync')
    // A copy that is not a replica any more is deleted.
    for (const id of gone) this.#lengths[number]?.delete(id)
  }
}

describe('a cluster to which anything happens', () => {
  it('lets nobody lead who lacks committed records, and ends every move once all are back (rules 2, 3, 4, 9, 10, 13, 14)', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom('fsync', 'replicated'),
        fc.array(step, { maxLength: 60 }),
        (count, durability, steps) => {
          const world = new World(count, { durability, 'min.insync.replicas': String(Math.min(2, count)) })
          for (const one of steps) world.do(one)
          expect(imageToSnapshot(imageFromSnapshot(imageToSnapshot(world.image)))).toEqual(imageToSnapshot(world.image))
          heal(world)
        },
      ),
      { numRuns: 500 },
    )
  }, 60_000)

  function heal(world: World): void {
    for (const { nodeId, draining } of world.image.nodes.values())
      if (draining) world.do({ what: 'node', node: nodeId, action: NodeAction.UNDRAIN })
    world.setMinIsr(1)
    for (let round = 0; round < 10; round++) {
      if (round === 1) world.do({ what: 'elect', isUnclean: true })
      for (const nodeId of world.image.nodes.keys()) world.beat(nodeId, { isCurrent: true, wantFence: false, wantShutdown: false })
      world.catchUp()
      world.doDuties([])
    }
    for (const state of world.topic.partitions) {
      expect(state.leader, 'the preferred leader leads').toBe(state.replicas[0])
      expect(isMoving(state), 'every move has ended').toBe(false)
      expect(state.isr).toHaveLength(state.replicas.length)
    }
  }
})
