/** What the scripted scenarios share: a cluster that is up, with one topic; a history; and at the end peace, in which everything must be well. */
import type { NodeConfig } from '../../../broker/config.ts'
import type { Partition } from '../../../broker/partition.ts'
import type { Admin } from '../../../client/admin.ts'
import type { ProducerOptions } from '../../../client/types.ts'
import type { PartitionMetadata } from '../../../controller/metadata/image.ts'
import { SimCluster } from '../cluster.ts'
import { History } from '../history.ts'
import type { CallMessage, Hold } from '../network.ts'
import type { SimNode } from '../node.ts'
import { checkPeace } from '../peace.ts'
import { streamOf } from '../../../scripts/random.ts'
import { SimProducer, SimReader } from '../workload.ts'

export const TOPIC = 'orders'

export interface ScenarioOptions {
  readonly seed?: number
  readonly nodeCount?: number
  readonly controllerCount?: number
  readonly config?: Partial<Omit<NodeConfig, 'limits'>>
  readonly tailCacheBytes?: number
  /** Of the topic. Default: three replicas, two of them in sync at the least. */
  readonly replicas?: number
  readonly configs?: Readonly<Record<string, string>>
}

/** Something a node logged. */
export interface Said {
  readonly nodeId: number
  readonly event: string
  readonly fields: Readonly<Record<string, unknown>>
}

/** Plays `script` on a cluster, then waits for peace. What fails comes with the newest lines of the trace. */
export async function play(options: ScenarioOptions, script: (scenario: Scenario) => Promise<void>): Promise<void> {
  const scenario = new Scenario(options)
  try {
    await scenario.begin()
    await script(scenario)
    await scenario.end()
  } catch (error) {
    const trace = scenario.cluster.trace.recent.slice(-40).join('\n')
    if (error instanceof Error) error.message += `\nseed ${scenario.cluster.seed}; the newest of what happened:\n${trace}`
    throw error
  }
}

export class Scenario {
  readonly cluster: SimCluster
  readonly history: History = new History()
  readonly said: Said[] = []
  readonly admin: Admin
  readonly #options: ScenarioOptions
  readonly #producers = new Map<string, SimProducer>()
  #isPeaceAsked = true

  constructor(options: ScenarioOptions) {
    this.#options = options
    this.cluster = new SimCluster({
      seed: options.seed ?? 1,
      nodeCount: options.nodeCount ?? 3,
      ...(options.controllerCount !== undefined && { controllerCount: options.controllerCount }),
      ...(options.config !== undefined && { config: options.config }),
      ...(options.tailCacheBytes !== undefined && { tailCacheBytes: options.tailCacheBytes }),
    })
    this.cluster.onEvent = (nodeId, event, fields) => this.said.push({ nodeId, event, fields })
    this.admin = this.cluster.openClient('admin').tm.admin
  }

  async begin(): Promise<void> {
    const { replicas = 3, configs = {} } = this.#options
    await this.cluster.begin()
    await this.cluster.run(this.admin.createTopic(TOPIC, { partitions: 1, replicas, configs }))
    await this.until('the topic is led', () => this.cluster.leaderOf(TOPIC) !== undefined)
  }

  /** Nothing goes wrong from here on: all must become well, and nothing acknowledged be lost. */
  async end(): Promise<void> {
    if (!this.#isPeaceAsked) return
    this.cluster.network.heal()
    this.cluster.network.releaseAll()
    for (const producer of this.#producers.values()) producer.stop()
    for (const node of this.cluster.nodes) {
      node.life?.process.resume()
      if (node.life?.process.isAlive !== true) node.start()
    }
    await checkPeace(this.cluster, this.history, [TOPIC])
  }

  /** Acknowledged records are about to be lost, as they may be in this scenario: the end is not looked at. */
  acceptLoss(): void {
    this.#isPeaceAsked = false
    this.cluster.oracles.acceptsLoss = true
  }

  get state(): PartitionMetadata {
    const state = this.cluster.stateOf(TOPIC)
    if (state === undefined) throw new Error('the topic is not there')
    return state
  }

  get leader(): SimNode {
    const leader = this.cluster.leaderOf(TOPIC)
    if (leader === undefined) throw new Error('nobody leads')
    return leader
  }

  get followers(): [SimNode, SimNode] {
    return this.cluster.followersOf(TOPIC) as [SimNode, SimNode]
  }

  node(nodeId: number): SimNode {
    return this.cluster.node(nodeId)
  }

  /** The replica on a node, which must be open. */
  replicaOn(node: SimNode): Partition {
    const replica = this.cluster.partitionOf(node, TOPIC)
    if (replica === undefined) throw new Error(`node ${node.nodeId} has no open replica`)
    return replica
  }

  countOf(event: string, nodeId?: number): number {
    return this.said.filter((said) => said.event === event && (nodeId === undefined || said.nodeId === nodeId)).length
  }

  producer(name = 'p1', options: ProducerOptions = {}): SimProducer {
    let producer = this.#producers.get(name)
    producer ??= new SimProducer(this.cluster, this.history, name, streamOf(this.cluster.seed, name), options)
    this.#producers.set(name, producer)
    return producer
  }

  /** Sends, and waits until all are acknowledged. Of one key: their order is seen. */
  async send(count: number, name?: string): Promise<void> {
    const sends = Array.from({ length: count }, () => this.producer(name).send(TOPIC, 'k'))
    for (const sent of await this.cluster.run(Promise.all(sends)))
      if (sent.outcome !== 'ok') throw new Error(`${sent.value} is ${sent.outcome}`)
  }

  /** A producer sends one record, and dies once the leader has it on disk: what becomes of it nobody will ask. */
  async leave(name: string): Promise<void> {
    const { log } = this.replicaOn(this.leader)
    const end = log.flushedOffset + 1
    const producer = this.producer(name)
    void producer.send(TOPIC)
    await this.until(`${name}'s record is on the leader's disk`, () => log.flushedOffset === end)
    producer.kill()
  }

  /** Values that others than the scenario's producers have sent, so that they are no surprise in the end. */
  writtenElsewhere(values: readonly string[]): void {
    for (const value of values) this.history.sending('elsewhere', TOPIC, value, value).outcome = 'indeterminate'
  }

  /** A reader from the beginning on, to the end of the scenario. */
  follow(name = 'r1'): void {
    new SimReader(this.cluster, this.history, name).follow([TOPIC])
  }

  advance(ms: number): Promise<void> {
    return this.cluster.advance(ms)
  }

  async until(what: string, isTrue: () => boolean, timeoutMs = 20_000): Promise<void> {
    if (!(await this.cluster.until(isTrue, timeoutMs))) throw new Error(`not within ${timeoutMs} ms: ${what}`)
  }

  async untilInSync(...nodeIds: number[]): Promise<void> {
    const isSame = (isr: readonly number[]): boolean => isr.length === nodeIds.length && nodeIds.every((id) => isr.includes(id))
    await this.until(`in sync are ${nodeIds.join()}`, () => isSame(this.state.isr))
  }

  /** Moves the partition to these nodes; the first leads, all are in sync. */
  async place(...nodeIds: number[]): Promise<void> {
    const { cluster, admin } = this
    await cluster.run(admin.cluster.reassign(TOPIC, 0, nodeIds))
    await this.until('the move has ended', () => this.state.replicas.join() === nodeIds.join() && this.state.addingReplicas.length === 0)
    await this.untilInSync(...nodeIds)
    if (this.state.leader !== nodeIds[0]) await cluster.run(admin.cluster.electLeaders([{ topic: TOPIC }]))
    await this.until(`node ${nodeIds[0]} leads`, () => this.cluster.partitionOf(this.node(nodeIds[0] as number), TOPIC)?.isLeader === true)
  }

  /** Gives leadership to another replica in sync, as quickly as the controller decides it. */
  async lead(nodeId: number): Promise<void> {
    const replicas = [nodeId, ...this.state.replicas.filter((id) => id !== nodeId)]
    await this.cluster.run(this.admin.cluster.reassign(TOPIC, 0, replicas))
    await this.cluster.run(this.admin.cluster.electLeaders([{ topic: TOPIC }]))
    await this.until(`node ${nodeId} leads`, () => this.cluster.partitionOf(this.node(nodeId), TOPIC)?.isLeader === true)
  }

  /** Nothing gets from one of these nodes to another of them, until the network is healed. */
  cutApart(...nodeIds: number[]): void {
    for (const id of nodeIds)
      this.cut(
        id,
        nodeIds.filter((other) => other !== id),
      )
  }

  /** Nothing gets from one node to these others, or back. */
  cut(nodeId: number, others: readonly number[]): void {
    this.cluster.split(
      [`n${nodeId}`],
      others.map((other) => `n${other}`),
    )
  }

  /** The metadata does not get to a controller any more: it knows what it knew. */
  holdMetadata(nodeId: number): Hold {
    return this.cluster.network.hold(({ to, path }) => to === `n${nodeId}` && path === '/tidemark.v1.Quorum/Send')
  }

  /** Everything that one node sends of a kind of call, questions or answers. */
  holdCalls(nodeId: number, call: string, kind: 'asked by' | 'answered to'): Hold {
    const isIt = ({ from, to, isAnswer }: CallMessage): boolean =>
      kind === 'asked by' ? from === `n${nodeId}` && !isAnswer : to === `n${nodeId}` && isAnswer
    return this.cluster.network.hold((message) => message.path === `/tidemark.v1.${call}` && isIt(message))
  }

  /** The nodes, the active controller last. */
  get nodesByController(): readonly number[] {
    const active = this.cluster.activeController?.nodeId
    const others = this.cluster.nodes.map(({ nodeId }) => nodeId).filter((id) => id !== active)
    return active === undefined ? others : [...others, active]
  }
}
