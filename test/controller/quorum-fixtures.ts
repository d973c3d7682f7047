/** Controllers in one process, with a network between them that can be cut. */
import type { LogFollower } from '../../controller/metadata-log.ts'
import { MemoryRaftStore } from '../../controller/memory-raft-store.ts'
import type { QuorumReceiver, QuorumTransport } from '../../controller/quorum-transport.ts'
import { openRaftLog, type RaftLog } from '../../controller/raft-log.ts'
import type { RaftStore } from '../../controller/raft-store.ts'
import type { VoterDescription } from '../../protocol/gen/tidemark/v1/controller.ts'
import type { MetadataBatch, MetadataSnapshot } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { nodeRuntime } from '../../runtime/node.ts'
import { idOf } from './fixtures.ts'

const ELECTION_TIMEOUT_MS = 150
const HEARTBEAT_INTERVAL_MS = 15

export class Hub {
  readonly #receivers = new Map<number, QuorumReceiver>()
  readonly refusals: { readonly nodeId: number; readonly error: Error }[] = []
  /** Nodes that nothing reaches and nothing leaves. */
  readonly cut: Set<number> = new Set()

  open(nodeId: number): (receiver: QuorumReceiver) => QuorumTransport {
    return (receiver) => {
      this.#receivers.set(nodeId, receiver)
      return {
        send: (to, message, sender) => {
          setImmediate(() => {
            const target = this.cut.has(nodeId) || this.cut.has(to.nodeId) ? undefined : this.#receivers.get(to.nodeId)
            try {
              target?.receive(message, sender)
            } catch (error) {
              this.refusals.push({ nodeId, error: error as Error })
            }
            if (target === undefined) receiver.unreachable(to.nodeId)
            if (message.type === 'snapshot') receiver.snapshotSent(to.nodeId, target !== undefined)
          })
        },
        close: async () => {
          if (this.#receivers.get(nodeId) === receiver) this.#receivers.delete(nodeId)
        },
      }
    }
  }
}

export function voter(nodeId: number, directoryId: string = idOf(2000 + nodeId)): VoterDescription {
  return { nodeId, directoryId, host: `node${nodeId}`, port: 7000 + nodeId }
}

export async function startLog(
  hub: Hub,
  nodeId: number,
  options: {
    readonly store?: RaftStore
    readonly firstVoters?: readonly VoterDescription[]
    readonly directoryId?: string
    readonly contacts?: readonly VoterDescription[]
  } = {},
): Promise<RaftLog> {
  const log = await openRaftLog({
    runtime: nodeRuntime(),
    nodeId,
    directoryId: options.directoryId ?? idOf(2000 + nodeId),
    clusterId: () => '',
    store: options.store ?? new MemoryRaftStore(),
    openTransport: hub.open(nodeId),
    firstVoters: options.firstVoters ?? [],
    contacts: options.contacts ?? [],
    electionTimeoutMs: ELECTION_TIMEOUT_MS,
    heartbeatIntervalMs: HEARTBEAT_INTERVAL_MS,
  })
  log.start()
  return log
}

/** The log that is active, once one of them is. */
export async function activeOf(logs: readonly RaftLog[]): Promise<RaftLog> {
  const active = logs.find(({ leadership }) => leadership.isActive)
  if (active !== undefined) return active
  const { promise, resolve } = Promise.withResolvers<RaftLog>()
  const stops = logs.map((log) => log.onLeadership(({ isActive }) => isActive && resolve(log)))
  const found = await promise
  for (const stop of stops) stop()
  return found
}

/** A batch that can be told from others. */
export function batchOf(name: string): MetadataBatch {
  return { records: [{ record: { $case: 'topic', value: { name, topicId: '', internal: false } } }] }
}

function nameOf(batch: MetadataBatch): string {
  const record = batch.records[0]?.record
  return record?.$case === 'topic' ? record.value.name : ''
}

/** Follows a log and keeps the names of its batches; offers them as a snapshot. */
export class Names implements LogFollower {
  names: string[] = []
  #wake = Promise.withResolvers<void>()

  apply(offset: number, batch: MetadataBatch): void {
    if (offset !== this.names.length) throw new Error(`offset ${offset} follows on ${this.names.length} batches`)
    this.names.push(nameOf(batch))
    this.#wake.resolve()
  }

  load({ version, records }: MetadataSnapshot): void {
    this.names = records.map((record) => nameOf({ records: [record] }))
    if (version !== this.names.length) throw new Error(`a snapshot of ${version} batches has ${this.names.length}`)
    this.#wake.resolve()
  }

  takeSnapshot(): MetadataSnapshot {
    return { version: this.names.length, records: this.names.flatMap((name) => batchOf(name).records) }
  }

  async reaches(count: number): Promise<void> {
    while (this.names.length < count) {
      this.#wake = Promise.withResolvers<void>()
      await this.#wake.promise
    }
  }
}

export function followNames(log: RaftLog): Names {
  const names = new Names()
  log.follow(0, {
    apply: (offset, batch) => names.apply(offset, batch),
    load: (snapshot) => names.load(snapshot),
    takeSnapshot: () => names.takeSnapshot(),
  })
  return names
}
