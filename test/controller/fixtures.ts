/** What the tests of the controller share: nodes, ids that can be told apart, time that stands still. */
import { Controller, type ControllerParts } from '../../controller/controller.ts'
import { MemoryStore } from './memory-store.ts'
import { applyBatch } from '../../controller/metadata/apply.ts'
import type { Decision } from '../../controller/metadata/decision.ts'
import { EMPTY_IMAGE, type MetadataImage, type NodeMetadata } from '../../controller/metadata/image.ts'
import { unfenceNode } from '../../controller/metadata/node-states.ts'
import { nameCluster, registerNode } from '../../controller/metadata/nodes.ts'
import type { CreateContext } from '../../controller/metadata/topics.ts'
import type { MetadataStore } from './metadata-store.ts'
import { openSingleVoterLog } from './single-voter-log.ts'
import type { AllocateProducerIdsRequest, RegisterNodeRequest } from '../../protocol/gen/tidemark/v1/controller.ts'
import type { MetadataRecord, RegisterNodeRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { encodeUuid } from '../../protocol/ids.ts'
import { silentLog } from '../../runtime/node.ts'
import type { Timer } from '../../runtime/runtime.ts'

/** The n-th id, in the form of ids. */
export function idOf(number: number): string {
  const bytes = Buffer.alloc(16)
  bytes.writeUInt32BE(number, 12)
  return encodeUuid(bytes)
}

/** Node `nodeId` as it asks for producer ids, if `image` knows it. */
export function runOf(image: MetadataImage, nodeId = 1): AllocateProducerIdsRequest {
  return { clusterId: '', nodeId, nodeEpoch: image.nodes.get(nodeId)?.nodeEpoch ?? 0 }
}

/** A registration that begins the life of a node in a cluster it does not know yet. */
export function requestOf(nodeId: number, changes: Partial<RegisterNodeRequest> = {}): RegisterNodeRequest {
  const { nodeEpoch: _epoch, ...registration } = nodeOf(nodeId)
  return { ...registration, clusterId: '', cleanShutdownEpoch: 0, imageOf: '', ...changes }
}

export function nodeOf(nodeId: number, changes: Partial<RegisterNodeRecord> = {}): RegisterNodeRecord {
  return {
    nodeId,
    incarnationId: idOf(1000 + nodeId),
    directoryId: idOf(2000 + nodeId),
    host: `node${nodeId}`,
    port: 7000 + nodeId,
    rack: '',
    version: '0.1.0',
    roles: ['broker', 'controller'],
    nodeEpoch: 1,
    alternatives: [],
    starts: 0,
    ...changes,
  }
}

/** The image once the records of `decision` are committed. */
export function commit(image: MetadataImage, { records }: Pick<Decision<unknown>, 'records'>): MetadataImage {
  return records.length === 0 ? image : applyBatch(image, image.version, { records: [...records] }).image
}

export function applyRecords(image: MetadataImage, ...records: MetadataRecord[]) {
  return applyBatch(image, image.version, { records })
}

/** The node registers and is let in. */
export function enter(image: MetadataImage, nodeId: number, changes: Partial<RegisterNodeRequest> = {}): MetadataImage {
  const registered = commit(
    image,
    registerNode(image, requestOf(nodeId, changes), () => false),
  )
  return commit(registered, { records: unfenceNode(registered, registered.nodes.get(nodeId) as NodeMetadata) })
}

/** A named cluster of nodes 1 to `count`. */
export function clusterOf(count: number): MetadataImage {
  let image = commit(EMPTY_IMAGE, nameCluster(EMPTY_IMAGE, idOf(1)))
  for (let nodeId = 1; nodeId <= count; nodeId++) image = enter(image, nodeId)
  return image
}

export function createContext(defaults: CreateContext['defaults'] = { partitions: 1, replicas: 1 }, firstId = 10_000): CreateContext {
  let next = firstId
  return { defaults, newTopicId: () => idOf(next++) }
}

/** Timers that run when told to. */
export class VirtualTimers {
  #nowMs = 0
  readonly #pending = new Set<{ readonly atMs: number; readonly run: () => void }>()

  after(delayMs: number, run: () => void): Timer {
    const entry = { atMs: this.#nowMs + delayMs, run }
    this.#pending.add(entry)
    return { cancel: () => this.#pending.delete(entry) }
  }

  /** Of sessions: nobody's ends in these tests. */
  every(): Timer {
    return { cancel: () => {} }
  }

  nextTurn(): void {
    throw new Error('nothing in the controller waits for a turn')
  }

  get count(): number {
    return this.#pending.size
  }

  advance(byMs: number): void {
    this.#nowMs += byMs
    for (const entry of [...this.#pending].filter(({ atMs }) => atMs <= this.#nowMs)) {
      if (this.#pending.delete(entry)) entry.run()
    }
  }
}

/** Bytes that count up: no two draws are alike, every run is. */
export function countingRandom(start = 0) {
  let next = start
  const bytes = (count: number): Buffer => {
    const drawn = Buffer.alloc(count)
    drawn.writeUInt32BE(next++, count - 4)
    return drawn
  }
  return { float: () => 0.5, bytes }
}

export function partsOf(timers = new VirtualTimers()): ControllerParts {
  const clock = { now: () => 0, monotonic: () => 0 }
  return {
    runtime: { clock, timers, random: countingRandom(), log: silentLog },
    sessionTimeoutMs: 6000,
    defaults: { partitions: 2, replicas: 1 },
  }
}

/** A controller over a log of its own. Closes the store if that fails, and when it is closed. */
export async function openController({ store, ...parts }: ControllerParts & { readonly store: MetadataStore }): Promise<Controller> {
  const log = await openSingleVoterLog(store)
  try {
    const controller = new Controller(log, parts)
    await controller.bootstrap()
    return controller
  } catch (error) {
    await log.close()
    throw error
  }
}

/** A controller whose node 1 is registered. */
export async function startController(store: MetadataStore = new MemoryStore(), timers = new VirtualTimers()): Promise<Controller> {
  const controller = new Controller(await openSingleVoterLog(store), partsOf(timers))
  await controller.bootstrap()
  const { nodeEpoch } = await controller.registerNode(requestOf(1))
  await controller.heartbeat({ clusterId: '', nodeId: 1, nodeEpoch, metadataVersion: nodeEpoch, wantFence: false, wantShutdown: false })
  return controller
}

/** A store whose writes wait for `release`, or fail with `failure`. */
export class HeldStore extends MemoryStore {
  readonly appends: number[] = []
  closeCount = 0
  failure: Error | undefined
  #isHeld = false
  #held: (() => void)[] = []

  hold(): void {
    this.#isHeld = true
  }

  release(): void {
    this.#isHeld = false
    for (const go of this.#held.splice(0)) go()
  }

  override async append(offset: number, entries: readonly Buffer[]): Promise<void> {
    this.appends.push(entries.length)
    if (this.#isHeld) await new Promise<void>((resolve) => this.#held.push(resolve))
    if (this.failure !== undefined) throw this.failure
    await super.append(offset, entries)
  }

  override async close(): Promise<void> {
    this.closeCount++
  }
}

export function createRequest(...names: string[]) {
  return { topics: names.map((name) => ({ name, partitions: 0, replicas: 0, configs: {} })), validateOnly: false }
}

/** Lets everything that is ready run. */
export function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
