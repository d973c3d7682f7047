/** Administration of the cluster itself: its quorum, its nodes, where replicas are and who leads. */
import { fromErrorDetail } from '../protocol/error-wire.ts'
import { ElectionType, NodeAction, QuorumAction } from '../protocol/gen/tidemark/v1/cluster.ts'
import type { ErrorDetail } from '../protocol/gen/tidemark/v1/errors.ts'
import type { ClusterClient } from './cluster-client.ts'

export interface ClusterCall {
  readonly signal?: AbortSignal
}

export interface QuorumMember {
  readonly nodeId: number
  readonly directoryId: string
  readonly host: string
  readonly port: number
  /** False: it learns, and does not vote. */
  readonly voter: boolean
  /** Entries it has durably; 0 when the node that answered does not lead. */
  readonly matchIndex: number
  readonly alive: boolean
}

export interface QuorumDescription {
  /** -1 while there is none. */
  readonly leaderId: number
  readonly term: number
  readonly committedIndex: number
  readonly members: readonly QuorumMember[]
}

/** A partition that is moving. */
export interface ReassignmentInfo {
  readonly topic: string
  readonly partition: number
  readonly replicas: readonly number[]
  readonly adding: readonly number[]
  readonly removing: readonly number[]
  readonly isr: readonly number[]
}

/** What became of the election of one partition; `error` is its code and message. */
export interface ElectionResult {
  readonly topic: string
  readonly partition: number
  readonly leader: number
  readonly error: string | undefined
}

export class ClusterAdmin {
  readonly #client: ClusterClient

  constructor(client: ClusterClient) {
    this.#client = client
  }

  describeQuorum(options: ClusterCall = {}): Promise<QuorumDescription> {
    return this.#client.call('describeQuorum', {}, options)
  }

  /** Takes a controller out of the quorum. */
  async removeController(nodeId: number, options: ClusterCall = {}): Promise<void> {
    const request = { action: QuorumAction.REMOVE, nodeId, directoryId: '', host: '', port: 0 }
    throwIf((await this.#client.call('alterQuorum', request, options)).error)
  }

  /** Gives partitions their preferred leader, or, with `unclean`, one that may lack records; all that need it when `topics` is empty. */
  async electLeaders(
    topics: readonly { readonly topic: string; readonly partitions?: readonly number[] }[],
    options: ClusterCall & { readonly unclean?: boolean } = {},
  ): Promise<ElectionResult[]> {
    const type = options.unclean === true ? ElectionType.UNCLEAN : ElectionType.PREFERRED
    const wanted = topics.map(({ topic, partitions }) => ({ topic, partitions: [...(partitions ?? [])] }))
    const { partitions } = await this.#client.call('electLeaders', { type, topics: wanted }, options)
    return partitions.map(({ topic, partition, leader, error }) => ({
      topic,
      partition,
      leader,
      error: error === undefined ? undefined : `${error.code}: ${error.message}`,
    }))
  }

  /** Moves the replicas of a partition, the preferred leader first; without `replicas` gives up the move under way. Resolves when it has begun. */
  async reassign(topic: string, partition: number, replicas: readonly number[] | undefined, options: ClusterCall = {}): Promise<void> {
    const wanted = { topic, partition, replicas: [...(replicas ?? [])] }
    const { partitions } = await this.#client.call('reassign', { partitions: [wanted] }, options)
    throwIf(partitions[0]?.error)
  }

  /** The moves under way. */
  async reassignments(options: ClusterCall = {}): Promise<readonly ReassignmentInfo[]> {
    return (await this.#client.call('listReassignments', {}, options)).partitions
  }

  /** Moves everything off a node; it gets nothing new. Resolves when it has begun. */
  drainNode(nodeId: number, options: ClusterCall = {}): Promise<void> {
    return this.#alterNode(nodeId, NodeAction.DRAIN, options)
  }

  /** Lets a drained node get replicas again. */
  undrainNode(nodeId: number, options: ClusterCall = {}): Promise<void> {
    return this.#alterNode(nodeId, NodeAction.UNDRAIN, options)
  }

  /** Forgets a node that is stopped and holds nothing. */
  removeNode(nodeId: number, options: ClusterCall = {}): Promise<void> {
    return this.#alterNode(nodeId, NodeAction.REMOVE, options)
  }

  async #alterNode(nodeId: number, action: NodeAction, options: ClusterCall): Promise<void> {
    const { nodes } = await this.#client.call('alterNodes', { nodes: [{ nodeId, action }] }, options)
    throwIf(nodes[0]?.error)
  }
}

function throwIf(error: ErrorDetail | undefined): void {
  if (error !== undefined) throw fromErrorDetail(error)
}
