/** What leaders answer their followers: from the bytes to the log of a follower, which goes on whatever it was told. */
import { LogChanges } from '../../../broker/log-changes.ts'
import { ByteBudget } from '../../../broker/backpressure.ts'
import { Partition } from '../../../broker/partition.ts'
import type { ReplicaStreamEvents } from '../../../broker/replication/channel.ts'
import { LeaderFetcher } from '../../../broker/replication/leader-fetcher.ts'
import { patchBatch } from '../../../protocol/batch-header.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import { type ReplicaFetchRequest, ReplicaFetchResponse, ReplicaService } from '../../../protocol/gen/tidemark/v1/replica.ts'
import type { DataDir } from '../../../log/data-dir.ts'
import type { PartitionLog } from '../../../log/partition-log.ts'
import { type Chance, pick, streamOf } from '../../../scripts/random.ts'
import { MemoryFiles } from '../../../testing/memory-files.ts'
import { batchesOf } from '../../log/compaction-support.ts'
import { batchOf, configOf, createWorld, openDir, openOrders, type TestWorld, TOPIC_ID } from '../../log/support.ts'
import { sampleMessages } from '../messages.ts'
import { must, type Target } from '../target.ts'

const FOLLOWER = 1
const LEADER = 2
const LEADER_EPOCH = 3
/** The log begins at 0, has the epochs 0 and 1, and ends here. */
const LOG_END = 4

const METADATA = {
  replicas: [LEADER, FOLLOWER],
  isr: [LEADER, FOLLOWER],
  leader: LEADER,
  leaderEpoch: LEADER_EPOCH,
  partitionEpoch: 1,
  elr: [],
  addingReplicas: [],
  removingReplicas: [],
  lastKnownLeader: -1,
}

/** More than a follower waits after any answer, in steps, so that its disk gets its turns. */
const STEPS = 40
const STEP_MS = 100

const CONFIG = configOf()

async function followerFiles(): Promise<MemoryFiles> {
  const world = createWorld()
  const log = await openOrders(await openDir(world), CONFIG)
  for (const [at, leaderEpoch] of [0, 0, 1].entries()) {
    log.append(batchOf(at === 2 ? ['c', 'd'] : ['a']), { leaderEpoch })
    await log.flush()
  }
  return world.files.crash(() => true)
}

/** One follower of one partition; the run is its leader. */
class Follower {
  readonly requests: ReplicaFetchRequest[] = []
  readonly partition: Partition
  /** Its log could not be opened again. */
  failure: TidemarkError | undefined
  readonly #world: TestWorld
  readonly #fetcher: LeaderFetcher
  #events: ReplicaStreamEvents | undefined

  constructor(world: TestWorld, dir: DataDir, log: PartitionLog) {
    const { runtime } = world
    const changes = new LogChanges({ dataDir: dir, runtime, nodeId: FOLLOWER }, (_partition, error) => (this.failure = error))
    this.#world = world
    this.#fetcher = new LeaderFetcher(LEADER, {
      nodeId: FOLLOWER,
      clusterId: () => 'c',
      nodeEpoch: () => 1,
      runtime,
      channel: {
        open: (_nodeId, events) => {
          this.#events = events
          return { send: (request) => void this.requests.push(request), close() {} }
        },
      },
      truncate: (partition, offset) => changes.truncate(partition, offset),
      reset: (partition, offset) => changes.reset(partition, offset),
    })
    this.partition = new Partition({
      log,
      config: CONFIG,
      metadata: METADATA,
      budget: new ByteBudget('', 1 << 20, runtime.clock),
      host: {
        nodeId: FOLLOWER,
        clock: runtime.clock,
        replicaLagMaxMs: 1000,
        isEligible: () => true,
        addressOf: () => undefined,
        waiting() {},
        isrWanted() {},
        flushed: (partition) => this.#fetcher.progressed(partition),
      },
    })
    this.#fetcher.follow(this.partition)
  }

  /** Lets time pass until it has asked `count` times and nothing of it is under way; false when it never does. */
  async hasAsked(count: number): Promise<boolean> {
    for (let step = 0; step < STEPS; step++) {
      if (this.requests.length >= count && !this.partition.isChanging) return true
      await new Promise(setImmediate)
      if (step > 2) this.#world.time.advance(STEP_MS)
    }
    return false
  }

  /** `isMeant`: of what was asked. An answer to anything else is passed over, and the silence ends with the stream. */
  answer(response: ReplicaFetchResponse, isMeant: boolean): void {
    this.#events?.answered(isMeant ? { ...response, correlationId: this.requests[0]?.correlationId ?? 0 } : response)
    if (!isMeant) this.break(new TidemarkError('UNAVAILABLE', 'the leader is silent'))
  }

  break(error: TidemarkError): void {
    this.#events?.broken(error)
  }

  close(): void {
    this.#fetcher.close()
  }
}

class FollowerUnderFire {
  #files = new MemoryFiles()
  readonly #seen = new Map<string, number>()

  async open(): Promise<void> {
    this.#files = await followerFiles()
  }

  async run(input: Buffer): Promise<void> {
    const world = createWorld(this.#files.copy())
    const dir = await openDir(world)
    const follower = new Follower(world, dir, await openOrders(dir, CONFIG))
    must(await follower.hasAsked(1), 'a follower asks')
    const response = decoded(input)
    if (response instanceof TidemarkError) follower.break(response)
    else follower.answer(response, input.length % 8 !== 0)
    must(await follower.hasAsked(2), 'a follower asks again, whatever it was answered')
    must(follower.failure === undefined, `its log can be opened: ${follower.failure?.message}`)
    const { log, highWatermark } = follower.partition
    must(log.logStartOffset <= log.flushedOffset && log.flushedOffset <= log.logEndOffset, 'log start <= flushed <= log end')
    must(highWatermark <= log.logEndOffset, 'the high watermark lies in the log')
    await log.flush()
    await batchesOf(log)
    this.#note(world, log)
    // A code that this version does not know is INTERNAL too.
    const blamed = world.lines.find(
      ({ event, fields }) => event === 'replica.postponed' && (fields as { code: string }).code === 'INTERNAL',
    )
    const isTold = !(response instanceof TidemarkError) && response.partitions.some(({ error }) => error !== undefined)
    must(blamed === undefined || isTold, `a follower does not stumble: ${JSON.stringify(blamed?.fields)}`)
    follower.close()
    await dir.close()
    if (response instanceof TidemarkError) throw response
  }

  figures(): Record<string, number> {
    return Object.fromEntries(this.#seen)
  }

  /** What it has made of the answer. */
  #note({ lines }: TestWorld, log: PartitionLog): void {
    const events = new Set(lines.map(({ event }) => event).filter((event) => event.startsWith('replica.')))
    if (log.logEndOffset > LOG_END && !events.has('replica.begun-anew')) events.add('appended')
    for (const event of events) this.#seen.set(event, (this.#seen.get(event) ?? 0) + 1)
  }
}

/** As the stream does, which breaks over what cannot be decoded. */
function decoded(input: Buffer): ReplicaFetchResponse | TidemarkError {
  try {
    return ReplicaService.fetch.responseDeserialize(input)
  } catch {
    return new TidemarkError('UNAVAILABLE', 'undecodable')
  }
}

const follower = new FollowerUnderFire()

const OFFSETS = [0, 1, 2, 3, LOG_END, LOG_END, LOG_END + 1, 100, 2 ** 31, 2 ** 53 - 1] as const
const EPOCHS = [-1, 0, 1, 2, LEADER_EPOCH, LEADER_EPOCH + 1, 2 ** 31 - 1] as const

function batchesFor(chance: Chance): Buffer {
  let offset: number = chance() < 0.7 ? LOG_END : pick(chance, OFFSETS)
  const count = Math.floor(4 * chance())
  return Buffer.concat(
    Array.from({ length: count }, () => {
      const batch = batchOf(['x', 'y'].slice(0, 1 + Math.floor(chance() * 2)))
      patchBatch(batch, 0, offset, chance() < 0.7 ? LEADER_EPOCH : pick(chance, EPOCHS))
      offset += chance() < 0.8 ? 2 : 7
      return batch
    }),
  )
}

function answerOf(chance: Chance): Buffer {
  const results = Array.from({ length: chance() < 0.8 ? 1 : 2 }, () => ({
    topicId: chance() < 0.9 ? TOPIC_ID : 'BBBBBBBBBBBBBBBBBBBBBB',
    partition: chance() < 0.9 ? 0 : 7,
    error:
      chance() < 0.2 ? { code: pick(chance, ['OFFSET_OUT_OF_RANGE', 'FENCED_LEADER_EPOCH', 'CORRUPT_LOG', 'NEW_CODE', '']) } : undefined,
    highWatermark: pick(chance, OFFSETS),
    logStartOffset: chance() < 0.5 ? 0 : pick(chance, OFFSETS),
    diverging: chance() < 0.3 ? { epoch: pick(chance, EPOCHS), endOffset: pick(chance, OFFSETS) } : undefined,
    batches: batchesFor(chance),
    sparseBelow: chance() < 0.6 ? 0 : pick(chance, OFFSETS),
    replicatedBelow: pick(chance, OFFSETS),
  }))
  const error = chance() < 0.05 ? { code: 'FENCED_NODE_EPOCH' } : undefined
  return Buffer.from(
    ReplicaFetchResponse.encode(ReplicaFetchResponse.fromPartial({ correlationId: 1, error, partitions: results })).finish(),
  )
}

export const replicaTargets: readonly Target[] = [
  {
    name: 'replica-answers',
    what: 'what a leader answers a follower (LeaderFetcher): its log stays a log, and it asks again',
    open: () => follower.open(),
    seeds: (seed) => [
      ...Array.from({ length: 100 }, (_, at) => answerOf(streamOf(seed, `answer ${at}`))),
      ...sampleMessages('tidemark.v1.ReplicaFetchResponse', seed, 40),
    ],
    fresh: answerOf,
    run: (input) => follower.run(input),
    figures: () => follower.figures(),
    // A data directory is opened each time.
    outputBytesMax: 64 * 1024,
    weight: 0.01,
  },
]
