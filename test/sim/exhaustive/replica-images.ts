/** The metadata of a searched cluster: images by number, and what the controller's decisions make of them. */
import { alterPartitions } from '../../../controller/metadata/alter-partitions.ts'
import { applyBatch } from '../../../controller/metadata/apply.ts'
import { preferLeaders } from '../../../controller/metadata/duties.ts'
import type { MetadataImage, NodeMetadata, PartitionMetadata, TopicMetadata } from '../../../controller/metadata/image.ts'
import { fenceNodes } from '../../../controller/metadata/node-states.ts'
import { heartbeat, registerNode } from '../../../controller/metadata/nodes.ts'
import { createTopics } from '../../../controller/metadata/topics.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import type { AlterPartitionResult, AlterPartitionsRequest } from '../../../protocol/gen/tidemark/v1/controller.ts'
import type { MetadataRecord } from '../../../protocol/gen/tidemark/v1/metadata.ts'
import { clusterOf, commit, createContext, idOf, requestOf } from '../../controller/fixtures.ts'
import { Interned } from './interned.ts'
import type { ReplicaBounds } from './replica-bounds.ts'

const TOPIC = 'orders'
export const NODES = [1, 2, 3] as const

export class Images {
  readonly #images = new Interned<MetadataImage>()
  /** What became of an image, by decision. */
  readonly #decided: Map<string, number>[] = []
  readonly first: number

  constructor({ minIsr, durability, outOfSync }: ReplicaBounds) {
    const image = clusterOf(NODES.length)
    const configs = { 'min.insync.replicas': String(minIsr), durability }
    const topics = [{ name: TOPIC, partitions: 1, replicas: NODES.length, configs }]
    const created = commit(image, createTopics(image, { topics, validateOnly: false }, createContext()))
    const partition = (created.topics.get(TOPIC) as TopicMetadata).partitions[0] as PartitionMetadata
    if (partition.replicas.join() !== NODES.join()) throw new Error(`replicas are on ${partition.replicas.join()}`)
    const all = this.#add(created)
    const fenced = outOfSync.reduce((number, id) => this.fence(number, id), all)
    this.first = outOfSync.reduce((number, id) => this.heartbeat(number, id, this.node(number, id).nodeEpoch, number), fenced)
  }

  get(number: number): MetadataImage {
    return this.#images.get(number)
  }

  topic(number: number): TopicMetadata {
    return this.get(number).topics.get(TOPIC) as TopicMetadata
  }

  partition(number: number): PartitionMetadata {
    return this.topic(number).partitions[0] as PartitionMetadata
  }

  node(number: number, nodeId: number): NodeMetadata {
    return this.get(number).nodes.get(nodeId) as NodeMetadata
  }

  fenced(number: number): readonly number[] {
    return NODES.filter((id) => this.node(number, id).fenced)
  }

  /** The node is not heard of. */
  fence(number: number, nodeId: number): number {
    return this.#after(number, `fence ${nodeId}`, (image) => fenceNodes(image, [nodeId]))
  }

  /** The node, in a run of its own, has heard of everything up to image `heard`. */
  heartbeat(number: number, nodeId: number, nodeEpoch: number, heard: number): number {
    const request = { clusterId: '', nodeId, nodeEpoch, metadataVersion: this.get(heard).version, wantFence: false, wantShutdown: false }
    return this.#after(number, `heartbeat ${nodeId} ${nodeEpoch} ${heard}`, (image) => heartbeat(image, request).records)
  }

  /** The node starts again, without having been shut down. */
  register(number: number, nodeId: number, isWiped: boolean): number {
    const { directoryId, nodeEpoch } = this.node(number, nodeId)
    const request = requestOf(nodeId, { directoryId: isWiped ? idOf(9000 + nodeEpoch) : directoryId, cleanShutdownEpoch: 0 })
    return this.#after(number, `register ${nodeId} ${isWiped}`, (image) => registerNode(image, request, () => false).records)
  }

  preferLeaders(number: number): number {
    return this.#after(number, 'prefer', preferLeaders)
  }

  alter(number: number, request: AlterPartitionsRequest): { readonly next: number; readonly result: AlterPartitionResult | undefined } {
    let result: AlterPartitionResult | undefined
    const next = this.#decide(number, (image) => {
      const { records, response } = alterPartitions(image, request)
      result = response.partitions[0]
      return records
    })
    return { next, result }
  }

  describe(number: number): string {
    const { replicas: _replicas, leader, leaderEpoch, partitionEpoch, isr, elr } = this.partition(number)
    return `controller: leader=${leader} epoch=${leaderEpoch}.${partitionEpoch} isr=[${isr.join(' ')}] elr=[${elr.join(' ')}] fenced=[${this.fenced(number).join(' ')}]`
  }

  #after(number: number, name: string, decide: (image: MetadataImage) => readonly MetadataRecord[]): number {
    const known = (this.#decided[number] ??= new Map())
    const before = known.get(name)
    if (before !== undefined) return before
    const after = this.#decide(number, decide)
    known.set(name, after)
    return after
  }

  /** A refusal changes nothing. */
  #decide(number: number, decide: (image: MetadataImage) => readonly MetadataRecord[]): number {
    const image = this.get(number)
    try {
      const records = decide(image)
      return records.length === 0 ? number : this.#add(applyBatch(image, image.version, { records: [...records] }).image)
    } catch (error) {
      if (!TidemarkError.is(error)) throw error
      return number
    }
  }

  /**
   * Of the version only the order to the runs of nodes counts, and the newest run is where it is: how many decisions there were in
   * between says nothing about what comes.
   */
  #add(applied: MetadataImage): number {
    const nodes = NODES.map((id) => applied.nodes.get(id) as NodeMetadata)
    const version = Math.max(...nodes.map(({ nodeEpoch }) => nodeEpoch))
    const image = Object.freeze({ ...applied, version })
    const { partitions, config } = image.topics.get(TOPIC) as TopicMetadata
    Object.freeze(config)
    const text = JSON.stringify([
      nodes.map(({ nodeEpoch, fenced, shuttingDown, directoryId }) => [nodeEpoch, fenced, shuttingDown, directoryId]),
      partitions,
    ])
    return this.#images.add(text, () => image)
  }
}
