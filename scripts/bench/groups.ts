/**
 * Measures what it costs a group of many members to change: how many partitions move, whom it stops, how long it takes. First the decision alone, then through a
 * node in a process of its own.
 *
 *   node scripts/run.mjs scripts/bench/groups.ts [--members 100] [--topics 10] [--partitions 100]
 */
import { parseArgs } from 'node:util'
import type { Assignment, Subscriber } from '../../broker/groups/assignment.ts'
import { assign } from '../../broker/groups/assignor.ts'
import { type PartitionKey, partitionKey } from '../../broker/groups/partition-keys.ts'
import { PeerChannels } from '../../controller/peer-channels.ts'
import { GroupsService, HeartbeatIntent, type HeartbeatRequest, type HeartbeatResponse } from '../../protocol/gen/tidemark/v1/groups.ts'
import { nodeClock } from '../../runtime/node.ts'
import type { NodeProcess } from '../node-process.ts'
import { median, withNode } from './harness.ts'

const { values } = parseArgs({
  options: {
    members: { type: 'string', default: '100' },
    topics: { type: 'string', default: '10' },
    partitions: { type: 'string', default: '100' },
  },
})
const MEMBERS = Number(values.members)
const TOPICS = Array.from({ length: Number(values.topics) }, (_, index) => `topic-${String(index).padStart(3, '0')}`)
const PARTITIONS = Number(values.partitions)

/** One member more, one less, a topic that doubles: the assignor alone. */
function decideAlone(): void {
  const ids = TOPICS.map((_, index) => Buffer.from(String(index).padStart(16, '0')).toString('base64url'))
  const counts = new Map(ids.map((id) => [id, PARTITIONS]))
  const member = (index: number, target: ReadonlySet<PartitionKey> = new Set()): Subscriber => {
    const memberId = `member-${String(index).padStart(5, '0')}`
    return { memberId, name: memberId, topicIds: new Set(ids), target }
  }
  const empty = Array.from({ length: MEMBERS }, (_, index) => member(index))
  const before = assign('uniform', empty, counts)
  const present = empty.map((one) => ({ ...one, target: before.get(one.memberId) ?? new Set<PartitionKey>() }))
  const grown = new Map(counts).set(ids[0] as string, 2 * PARTITIONS)
  const total = TOPICS.length * PARTITIONS
  console.log(`${MEMBERS} members, ${total} partitions; the decision alone (median of 20):`)
  show('all join at once', 0, () => assign('uniform', empty, counts))
  show('one joins', Math.floor(total / (MEMBERS + 1)), () => assign('uniform', [...present, member(MEMBERS)], counts), present)
  show('one leaves', 0, () => assign('uniform', present.slice(1), counts), present.slice(1))
  show('a topic doubles', 0, () => assign('uniform', present, grown), present)
  console.log(`  every partition belongs to one member: ${isComplete(before, total)}`)
}

function show(what: string, needed: number, decide: () => Assignment, before: readonly Subscriber[] = []): void {
  const times = Array.from({ length: 20 }, () => {
    const startedMs = performance.now()
    decide()
    return performance.now() - startedMs
  })
  const after = decide()
  const moved = before.flatMap(({ memberId, target }) => [...target].filter((key) => !after.get(memberId)?.has(key))).length
  console.log(`  ${what}: ${median(times).toFixed(2)} ms, ${moved} partitions taken from who had them (needed: ${needed})`)
}

function isComplete(assignment: Assignment, total: number): boolean {
  const keys = [...assignment.values()].flatMap((partitions) => [...partitions])
  return keys.length === total && new Set(keys).size === total
}

/** A member that does as it is told, at once. */
class BenchMember {
  readonly held = new Map<PartitionKey, number>()
  readonly #memberId: string
  readonly #send: (request: HeartbeatRequest) => Promise<HeartbeatResponse>
  epoch = 0
  beatCount = 0
  /** Partitions it had to let go of, or begin anew. */
  disturbedCount = 0
  pending = 1

  constructor(memberId: string, send: (request: HeartbeatRequest) => Promise<HeartbeatResponse>) {
    this.#memberId = memberId
    this.#send = send
  }

  async beat(maxWaitMs: number): Promise<void> {
    this.beatCount++
    const owned = new Map<string, number[]>()
    for (const key of this.held.keys()) {
      const [topicId = '', partition] = key.split('/')
      owned.set(topicId, [...(owned.get(topicId) ?? []), Number(partition)])
    }
    const answer = await this.#send({
      group: 'bench',
      memberId: this.#memberId,
      memberEpoch: this.epoch,
      intent: HeartbeatIntent.STAY,
      instanceId: '',
      clientId: '',
      topics: TOPICS,
      topicPattern: '',
      assignor: '',
      sessionTimeoutMs: 0,
      rebalanceTimeoutMs: 0,
      owned: [...owned].map(([topicId, partitions]) => ({ topicId: Buffer.from(topicId, 'base64url'), partitions })),
      maxWaitMs,
    })
    this.#take(answer)
  }

  #take({ memberEpoch, assignment, pendingPartitions }: HeartbeatResponse): void {
    this.epoch = memberEpoch
    this.pending = pendingPartitions
    const assigned = new Map(
      assignment.flatMap(({ topicId, assignedEpoch, partitions }) =>
        partitions.map((partition) => [partitionKey(topicId.toString('base64url'), partition), assignedEpoch] as const),
      ),
    )
    for (const [key, epoch] of this.held) {
      if (assigned.get(key) === epoch) continue
      this.disturbedCount++
      this.held.delete(key)
    }
    for (const [key, epoch] of assigned) this.held.set(key, epoch)
  }
}

async function throughNode(): Promise<void> {
  await withNode(async (tm, node) => {
    for (const topic of TOPICS) await tm.admin.createTopic(topic, { partitions: PARTITIONS })
    const channels = Array.from({ length: 8 }, () => new PeerChannels(nodeClock))
    const members = Array.from(
      { length: MEMBERS + 1 },
      (_, index) => new BenchMember(`member-${index}`, senderOf(channels[index % 8] as PeerChannels, node)),
    )
    const last = members[MEMBERS] as BenchMember
    const first = members.slice(0, MEMBERS)
    await first[0]?.beat(0)
    console.log(`through a node, members that let go at once:`)
    await report('all join', first, first)
    await report('one joins', members, first)
    const moved = first.filter(({ disturbedCount }) => disturbedCount > 0).length
    console.log(`  members that had to give something to the one that joined: ${moved}; the one that joined has ${last.held.size}`)
    for (const channel of channels) channel.close()
  })
}

/** Everybody beats, parked where there is nothing new, until all have what is meant for them. */
async function report(what: string, members: readonly BenchMember[], kept: readonly BenchMember[]): Promise<void> {
  for (const member of members) {
    member.disturbedCount = 0
    member.beatCount = 0
  }
  const startedMs = performance.now()
  const total = TOPICS.length * PARTITIONS
  const isSettled = (): boolean =>
    members.reduce((sum, { held }) => sum + held.size, 0) === total && members.every(({ pending }) => pending === 0)
  await Promise.all(
    members.map(async (member) => {
      do await member.beat(member.epoch === 0 ? 0 : 500)
      while (!isSettled())
    }),
  )
  const tookMs = performance.now() - startedMs
  const disturbed = kept.reduce((sum, { disturbedCount }) => sum + disturbedCount, 0)
  const beats = members.reduce((sum, { beatCount }) => sum + beatCount, 0)
  console.log(`  ${what}: ${tookMs.toFixed(0)} ms until settled, ${disturbed} partitions let go of, ${beats} heartbeats`)
}

function senderOf(channels: PeerChannels, node: NodeProcess): (request: HeartbeatRequest) => Promise<HeartbeatResponse> {
  return async (request) => {
    for (;;) {
      try {
        const { response } = await channels.call({ host: '127.0.0.1', port: node.port }, GroupsService.heartbeat, request, {
          timeoutMs: 10_000,
        })
        return response
      } catch (error) {
        if (!(error instanceof Error && 'retriable' in error && error.retriable === true)) throw error
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
  }
}

decideAlone()
await throughNode()
