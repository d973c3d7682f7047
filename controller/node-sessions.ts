/** When each node was heard of last, and how far it was: what the active controller remembers and does not write down. */
import type { Clock } from '../runtime/runtime.ts'
import type { MetadataImage } from './metadata/image.ts'

interface Session {
  readonly nodeEpoch: number
  /** Monotonic. */
  readonly heardAtMs: number
  /** Version of the metadata it has applied. */
  readonly metadataVersion: number
}

export class NodeSessions {
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #sessions = new Map<number, Session>()

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock
    this.#timeoutMs = timeoutMs
  }

  /**
   * A new active controller has heard of nobody yet: everyone gets a whole session, but for the one that led before, half of one. It was silent
   * when the others elected, or has handed over and will be heard at once.
   */
  restart(image: MetadataImage, lastLeaderId: number): void {
    this.#sessions.clear()
    for (const { nodeId, nodeEpoch } of image.nodes.values()) {
      const creditMs = nodeId === lastLeaderId ? this.#timeoutMs / 2 : 0
      this.#sessions.set(nodeId, { nodeEpoch, heardAtMs: this.#clock.monotonic() - creditMs, metadataVersion: 0 })
    }
  }

  heard(nodeId: number, nodeEpoch: number, metadataVersion: number): void {
    this.#sessions.set(nodeId, { nodeEpoch, heardAtMs: this.#clock.monotonic(), metadataVersion })
  }

  isAlive(nodeId: number): boolean {
    const session = this.#sessions.get(nodeId)
    return session !== undefined && this.#clock.monotonic() - session.heardAtMs <= this.#timeoutMs
  }

  /** Unfenced nodes that were silent for a session. */
  expired(image: MetadataImage): number[] {
    return [...image.nodes.values()].filter(({ nodeId, fenced }) => !fenced && !this.isAlive(nodeId)).map(({ nodeId }) => nodeId)
  }

  /** Every unfenced node but `nodeId` has applied the metadata up to `version`. */
  othersReached(image: MetadataImage, nodeId: number, version: number): boolean {
    return [...image.nodes.values()].every(
      (node) => node.nodeId === nodeId || node.fenced || (this.#sessions.get(node.nodeId)?.metadataVersion ?? 0) >= version,
    )
  }
}
