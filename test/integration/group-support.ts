/** Members of groups as raw calls: what a client library does, and nothing it would hide. */
import { PeerChannels } from '../../controller/peer-channels.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import {
  type AssignedPartitions,
  type CommitPartition,
  type DescribeGroupsResponse,
  type GroupDescription,
  GroupsService,
  type GroupsServer,
  HeartbeatIntent,
  type HeartbeatRequest,
  type HeartbeatResponse,
} from '../../protocol/gen/tidemark/v1/groups.ts'
import { nodeClock } from '../../runtime/node.ts'

type Address = { readonly host: string; readonly port: number }
type CallName = keyof typeof GroupsService
type RequestOf<Name extends CallName> = Parameters<GroupsServer[Name]>[0]['request']

const TIMEOUT_MS = 15_000

/** Calls that find the coordinator of their group, wherever it is by now. */
export class GroupCalls {
  readonly #channels = new PeerChannels(nodeClock)
  readonly #nodes: () => readonly Address[]
  #next = 0
  #last: Address | undefined

  constructor(nodes: () => readonly Address[]) {
    this.#nodes = nodes
  }

  /** To one node, once. */
  async once<Response>(address: Address, name: CallName, request: unknown, timeoutMs = TIMEOUT_MS): Promise<Response> {
    const { response } = await this.#channels.call(address, GroupsService[name] as never, request, { timeoutMs })
    return response as Response
  }

  /** To whichever node coordinates the group, until it answers. Begins with the one that answered last. */
  async ask<Response>(name: CallName, request: unknown, deadlineMs = Date.now() + TIMEOUT_MS): Promise<Response> {
    let address = this.#last ?? this.#other()
    for (;;) {
      try {
        const response = await this.once<Response>(address, name, request, 2000)
        this.#last = address
        return response
      } catch (error) {
        const known = TidemarkError.from(error)
        if (!known.retriable || Date.now() > deadlineMs) throw known
        const isElsewhere = known.code === 'NOT_COORDINATOR' && known.leader !== undefined
        address = isElsewhere ? known.leader : this.#other()
        if (!isElsewhere) await new Promise((resolve) => setTimeout(resolve, known.retryAfterMs ?? 50))
      }
    }
  }

  #other(): Address {
    const nodes = this.#nodes()
    return nodes[this.#next++ % nodes.length] as Address
  }

  async describe(group: string): Promise<GroupDescription> {
    const { groups } = await this.ask<DescribeGroupsResponse>('describeGroups', {
      groups: [group],
      withoutLag: false,
    } satisfies RequestOf<'describeGroups'>)
    return groups[0] as GroupDescription
  }

  close(): void {
    this.#channels.close()
  }
}

/** A partition, and when it was given. */
interface Given {
  readonly topic: string
  readonly topicId: Buffer
  readonly partition: number
  readonly assignedEpoch: number
}

export class TestMember {
  readonly memberId: string
  readonly #calls: GroupCalls
  readonly #fixed: Partial<HeartbeatRequest>
  epoch = 0
  answer: HeartbeatResponse | undefined
  /** `topic-partition` → what it was given. */
  readonly held = new Map<string, Given>()

  constructor(calls: GroupCalls, memberId: string, fixed: Partial<HeartbeatRequest> = {}) {
    this.#calls = calls
    this.memberId = memberId
    this.#fixed = fixed
  }

  get group(): string {
    return this.#fixed.group ?? 'billing'
  }

  /** Says what it holds, and takes and lets go of what the answer says. */
  async beat(more: Partial<HeartbeatRequest> = {}): Promise<HeartbeatResponse> {
    const request: HeartbeatRequest = {
      group: 'billing',
      memberId: this.memberId,
      memberEpoch: this.epoch,
      intent: HeartbeatIntent.STAY,
      instanceId: '',
      clientId: 'test',
      topics: ['orders'],
      topicPattern: '',
      assignor: '',
      sessionTimeoutMs: 0,
      rebalanceTimeoutMs: 0,
      owned: [...this.held.values()].map(({ topicId, partition }) => ({ topicId, partitions: [partition] })),
      maxWaitMs: 0,
      ...this.#fixed,
      ...more,
    }
    const answer = await this.#calls.ask<HeartbeatResponse>('heartbeat', request)
    if (request.intent !== HeartbeatIntent.STAY || answer.memberEpoch < this.epoch) return answer
    this.answer = answer
    this.epoch = answer.memberEpoch
    this.#take(answer.assignment)
    return answer
  }

  leave(intent: HeartbeatIntent = HeartbeatIntent.LEAVE): Promise<HeartbeatResponse> {
    this.held.clear()
    return this.beat({ intent })
  }

  /** Names of what it holds. */
  get names(): string[] {
    return [...this.held.keys()].sort()
  }

  partition(name: string, offset: number, more: Partial<CommitPartition> = {}): CommitPartition {
    const { topic, topicId, partition, assignedEpoch } = this.held.get(name) ?? {
      topic: name.replace(/-\d+$/, ''),
      topicId: Buffer.alloc(0),
      partition: Number(/\d+$/.exec(name)?.[0]),
      assignedEpoch: 0,
    }
    return { topic, topicId, partition, assignedEpoch, offset, leaderEpochPlusOne: 0, metadata: '', ...more }
  }

  /** Codes of what could not be committed, by name. */
  async commit(
    offsets: Readonly<Record<string, number>>,
    more: Partial<CommitPartition> = {},
  ): Promise<Record<string, string | undefined>> {
    const partitions = Object.entries(offsets).map(([name, offset]) => this.partition(name, offset, more))
    const request: RequestOf<'commitOffsets'> = {
      group: this.group,
      memberId: this.memberId,
      instanceId: this.#fixed.instanceId ?? '',
      partitions,
      rewind: false,
    }
    const response = await this.#calls.ask<{ partitions: { topic: string; partition: number; error?: { code: string } }[] }>(
      'commitOffsets',
      request,
    )
    return Object.fromEntries(response.partitions.map(({ topic, partition, error }) => [`${topic}-${partition}`, error?.code]))
  }

  #take(assignment: readonly AssignedPartitions[]): void {
    const assigned = new Map<string, Given>(
      assignment.flatMap(({ topic, topicId, assignedEpoch, partitions }) =>
        partitions.map((partition) => [`${topic}-${partition}`, { topic, topicId, partition, assignedEpoch }] as const),
      ),
    )
    for (const name of [...this.held.keys()]) if (!assigned.has(name)) this.held.delete(name)
    for (const [name, given] of assigned) this.held.set(name, given)
  }
}

/** Each beats in turn until nobody learns anything new. */
export async function settle(...members: readonly TestMember[]): Promise<void> {
  for (let quiet = 0; quiet < 2; quiet++) {
    for (const member of members) {
      const before = member.epoch
      const { pendingPartitions, memberEpoch } = await member.beat()
      if (memberEpoch !== before || pendingPartitions > 0) quiet = -1
    }
  }
}
