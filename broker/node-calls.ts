/** Questions to other nodes, by their numbers. */
import type { MethodDefinition } from '@grpc/grpc-js'
import type { PeerAddress, PeerChannels } from '../controller/peer-channels.ts'
import { TidemarkError } from '../protocol/errors.ts'

export class NodeCalls {
  readonly #addressOf: (nodeId: number) => PeerAddress | undefined
  readonly #channels: () => Promise<PeerChannels>

  constructor(addressOf: (nodeId: number) => PeerAddress | undefined, channels: () => Promise<PeerChannels>) {
    this.#addressOf = addressOf
    this.#channels = channels
  }

  /** Rejects as the other node does, and with `UNAVAILABLE` or `REQUEST_TIMED_OUT` when it does not answer. */
  async ask<Request, Response>(
    nodeId: number,
    method: MethodDefinition<Request, Response>,
    request: Request,
    timeoutMs: number,
  ): Promise<Response> {
    const address = this.#addressOf(nodeId)
    if (address === undefined) throw new TidemarkError('UNAVAILABLE', `nobody knows where node ${nodeId} is`)
    const { response } = await (await this.#channels()).call(address, method, request, { timeoutMs })
    return response
  }
}
