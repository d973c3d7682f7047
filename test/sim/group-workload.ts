/** Members of a group in the simulated cluster, by raw calls: they hold, hand over and commit while nodes fail, and die and are paused themselves. */
import type { Heartbeat } from '../../broker/groups/membership.ts'
import type { Commit } from '../../broker/groups/offsets.ts'
import { type PartitionKey, partitionKey, partitionOf, topicIdOf } from '../../broker/groups/partition-keys.ts'
import { type PeerAddress, PeerChannels } from '../../controller/peer-channels.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import {
  type CommitOffsetsResponse,
  type FetchOffsetsResponse,
  GroupsService,
  HeartbeatIntent,
  type HeartbeatRequest,
  type HeartbeatResponse,
} from '../../protocol/gen/tidemark/v1/groups.ts'
import type { SimCluster } from './cluster.ts'
import { GroupChecks } from './group-checks.ts'
import { type MemberTarget, type MemberTimes, type MemberWorld, SimMember, type Told } from './group-member.ts'
import { simDial } from './grpc-client.ts'
import { between, type Chance, pick, streamOf } from '../../scripts/random.ts'
import type { VirtualTime } from './virtual-time.ts'

const GROUP = 'billing'
const MEMBERS_MAX = 5

const TIMES: MemberTimes = { sessionMs: 2000, rebalanceMs: 2000, beatMs: 300, answerMs: 800, handlerMs: 200, longHandlerMs: 3000 }

/** Nodes asked one after the other for one request. */
const ATTEMPTS_MAX = 3

const INTENTS = {
  stay: HeartbeatIntent.STAY,
  leave: HeartbeatIntent.LEAVE,
  'leave-for-a-while': HeartbeatIntent.LEAVE_FOR_A_WHILE,
} as const

/** The coordinator as one member reaches it. */
class GroupTarget implements MemberTarget {
  readonly #channels: PeerChannels
  readonly #nodes: readonly PeerAddress[]
  #next: number
  #address: PeerAddress | undefined

  constructor(cluster: SimCluster, name: string, first: number) {
    const { process } = cluster.openClient(name)
    this.#channels = new PeerChannels(process.clock, simDial(cluster.network, process))
    this.#nodes = cluster.nodes.map(({ nodeId }) => ({ host: `n${nodeId}`, port: 9092 }))
    this.#next = first
  }

  async beat(beat: Heartbeat): Promise<Told> {
    const { owned, ...rest } = beat
    const request: HeartbeatRequest = {
      ...rest,
      group: GROUP,
      topics: [...beat.topics],
      intent: INTENTS[beat.intent],
      owned: [...owned].map((key) => ({ topicId: Buffer.from(topicIdOf(key), 'base64url'), partitions: [partitionOf(key)] })),
      maxWaitMs: 0,
    }
    const { memberEpoch, assignment } = await this.#ask<HeartbeatResponse>('heartbeat', request)
    const assigned = assignment.flatMap(({ topicId, assignedEpoch, partitions }) =>
      partitions.map((partition) => [partitionKey(topicId.toString('base64url'), partition), assignedEpoch] as const),
    )
    return { epoch: memberEpoch, assigned: new Map(assigned) }
  }

  async commit({ memberId, instanceId, partitions, mayGoBack }: Commit): Promise<{ readonly error: TidemarkError | undefined }[]> {
    const response = await this.#ask<CommitOffsetsResponse>('commitOffsets', {
      group: GROUP,
      memberId,
      instanceId,
      rewind: mayGoBack,
      partitions: partitions.map(({ topicId, leaderEpoch, ...one }) => ({
        ...one,
        topicId: Buffer.from(topicId ?? '', 'base64url'),
        leaderEpochPlusOne: leaderEpoch + 1,
      })),
    })
    return response.partitions.map(({ error }) => ({ error: error && fromErrorDetail(error) }))
  }

  async fetch(memberId: string, key: PartitionKey, assignedEpoch: number): Promise<number | undefined> {
    const wanted = { topic: '', topicId: Buffer.from(topicIdOf(key), 'base64url'), partition: partitionOf(key), assignedEpoch }
    const { partitions } = await this.#ask<FetchOffsetsResponse>('fetchOffsets', { group: GROUP, memberId, partitions: [wanted] })
    const error = partitions[0]?.error
    if (error !== undefined) throw fromErrorDetail(error)
    return partitions[0]?.offset
  }

  async #ask<Response>(name: keyof typeof GroupsService, request: unknown): Promise<Response> {
    for (let attempt = 1; ; attempt++) {
      this.#address ??= this.#nodes[this.#next++ % this.#nodes.length] as PeerAddress
      try {
        const { response } = await this.#channels.call(this.#address, GroupsService[name] as never, request, { timeoutMs: TIMES.answerMs })
        return response as Response
      } catch (error) {
        const known = TidemarkError.from(error)
        if (!known.retriable) throw known
        this.#address = known.code === 'NOT_COORDINATOR' ? known.leader : undefined
        if (attempt === ATTEMPTS_MAX) throw known
      }
    }
  }
}

/** Where one member lives. */
class MemberPlace implements MemberWorld {
  readonly time: VirtualTime
  readonly times = TIMES
  readonly #checks: GroupChecks
  readonly #target: GroupTarget

  constructor(time: VirtualTime, checks: GroupChecks, target: GroupTarget) {
    this.time = time
    this.#checks = checks
    this.#target = target
  }

  request<T>(call: (target: MemberTarget) => Promise<T>, done: (value: T) => void, failed: (error: TidemarkError) => void): void {
    call(this.#target).then(done, (error: unknown) => failed(TidemarkError.from(error)))
  }

  took(member: SimMember, key: PartitionKey, assigned: number): void {
    this.#checks.took(member, key, assigned)
  }

  leastOffset(key: PartitionKey): number {
    return this.#checks.leastOffset(key)
  }

  fetched(key: PartitionKey, offset: number, least: number): void {
    this.#checks.fetched(key, offset, least)
  }

  isLate(member: SimMember, key: PartitionKey, assigned: number): boolean {
    return this.#checks.isLate(member, key, assigned)
  }

  acknowledged(key: PartitionKey, offset: number, isLate: boolean): void {
    this.#checks.acknowledged(key, offset, isLate)
  }
}

export class GroupWorkload {
  readonly checks: GroupChecks
  readonly #cluster: SimCluster
  readonly #chance: Chance
  readonly #topics: readonly string[]
  #members: SimMember[] = []
  #count = 0
  #isStopped = false

  constructor(cluster: SimCluster, chance: Chance, topics: readonly string[]) {
    this.#cluster = cluster
    this.#chance = chance
    this.#topics = topics
    this.checks = new GroupChecks(
      () => cluster.time.nowMs,
      (what) => cluster.oracles.broke(`group: ${what}`),
    )
  }

  start(): void {
    for (let count = 0; count < 3; count++) this.#add('')
    this.#cluster.oracles.also(() => this.checks.checkHolders(this.#members))
    const again = (): void => {
      if (this.#isStopped) return
      this.#act()
      this.#cluster.time.after(between(this.#chance, 200, 2000), again)
    }
    this.#cluster.time.after(1000, again)
  }

  /** Members go on; nothing happens to them any more. */
  stop(): void {
    this.#isStopped = true
  }

  /** Every partition is held by one member. */
  get isWell(): boolean {
    const members = this.#members.filter(({ isGone }) => !isGone)
    return this.#keys().every((key) => members.filter((member) => member.believes(key)).length === 1)
  }

  /** What was acknowledged is there in the end. */
  async checkFinal(): Promise<void> {
    const target = new GroupTarget(this.#cluster, 'g-final', 0)
    for (const key of this.#keys()) {
      // Members go on committing: what counts is what was acknowledged before the question.
      const least = this.checks.leastOffset(key)
      this.checks.fetched(key, (await this.#untilAnswered(() => target.fetch('', key, 0))) ?? 0, least)
    }
  }

  describe(): string {
    return this.#members
      .map(
        ({ memberId, epoch, held, isPaused, isGone }) =>
          `${memberId} epoch ${epoch} holds ${[...held.keys()].join()}${isPaused ? ' paused' : ''}${isGone ? ' gone' : ''}`,
      )
      .join('; ')
  }

  #act(): void {
    const chance = this.#chance()
    const member = pick(this.#chance, this.#members)
    if (chance < 0.2) member.pause(between(this.#chance, 100, this.#chance() < 0.5 ? 6000 : 500))
    else if (chance < 0.35) member.kill()
    else if (chance < 0.45) member.leave('leave')
    else if (chance < 0.7) this.#add(this.#chance() < 0.5 ? `static-${Math.floor(this.#chance() * 2)}` : '')
    this.#members = this.#members.filter(({ isGone }) => !isGone)
    if (this.#members.length === 0) this.#add('')
  }

  #add(instanceId: string): void {
    if (this.#members.length >= MEMBERS_MAX || (instanceId !== '' && this.#members.some((member) => member.instanceId === instanceId)))
      return
    const memberId = `g${this.#count++}`
    const place = new MemberPlace(this.#cluster.time, this.checks, new GroupTarget(this.#cluster, memberId, this.#count))
    this.#members.push(new SimMember(place, memberId, instanceId, this.#topics, streamOf(this.#cluster.seed, memberId)))
  }

  /** Of topics as they are now. */
  #keys(): PartitionKey[] {
    const { topics } = this.#cluster.image
    return this.#topics.flatMap((name) => {
      const topic = topics.get(name)
      return topic?.partitions.map((_, partition) => partitionKey(topic.topicId, partition)) ?? []
    })
  }

  async #untilAnswered<T>(ask: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await ask()
      } catch (error) {
        if (!TidemarkError.from(error).retriable) throw error
        await new Promise<void>((resolve) => this.#cluster.time.after(100, resolve))
      }
    }
  }
}
