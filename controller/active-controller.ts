/**
 * The active controller, wherever it is: in this process, or on another node, to which the request is passed on.
 *
 * Answers of another node are given to the asker only when this node knows what they changed, so that whoever created a
 * topic finds it here.
 */
import type { MethodDefinition } from '@grpc/grpc-js'
import { TidemarkError } from '../protocol/errors.ts'
import { ClusterService } from '../protocol/gen/tidemark/v1/cluster.ts'
import { ControllerService } from '../protocol/gen/tidemark/v1/controller.ts'
import type { Controller } from './controller.ts'
import type { MetadataView } from './metadata-view.ts'
import type { PeerAddress, PeerChannels } from './peer-channels.ts'

/** A node that does not answer an administrator is not waited for longer. */
const CALL_TIMEOUT_MS = 10_000

/** Of the calls that keep a node in the cluster: one that hangs must not take the next one's place. */
const NODE_CALL_TIMEOUT_MS = 1500
const NODE_CALLS: ReadonlySet<string> = new Set([
  'registerNode',
  'heartbeat',
  'alterPartitions',
  'distrustReplicas',
  'allocateProducerIds',
  'readMetadataVersion',
])

/** How long an answer is held back until this node knows what it changed. */
const CATCH_UP_TIMEOUT_MS = 5000

/** Nodes asked one after the other before the asker is told to come again. */
const ATTEMPTS_MAX = 4

/** What only the active controller does, by the name of the call. */
const CALLS = {
  registerNode: ControllerService.registerNode,
  heartbeat: ControllerService.heartbeat,
  alterPartitions: ControllerService.alterPartitions,
  distrustReplicas: ControllerService.distrustReplicas,
  allocateProducerIds: ControllerService.allocateProducerIds,
  readMetadataVersion: ControllerService.readMetadataVersion,
  createTopics: ClusterService.createTopics,
  deleteTopics: ClusterService.deleteTopics,
  growTopics: ClusterService.growTopics,
  alterConfigs: ClusterService.alterConfigs,
  electLeaders: ClusterService.electLeaders,
  reassign: ClusterService.reassign,
  listReassignments: ClusterService.listReassignments,
  alterNodes: ClusterService.alterNodes,
  describeQuorum: ClusterService.describeQuorum,
  alterQuorum: ClusterService.alterQuorum,
} as const

export type ControllerCall = keyof typeof CALLS

type RequestOf<Name extends ControllerCall> = Parameters<Controller[Name]>[0]
type ResponseOf<Name extends ControllerCall> = Awaited<ReturnType<Controller[Name]>>

export interface ActiveControllerParts {
  /** On nodes with the role. */
  readonly local: () => Controller | undefined
  readonly view: MetadataView
  readonly channels: () => Promise<PeerChannels>
  /** Where the active controller is, as far as this node knows. */
  readonly leader: () => PeerAddress | undefined
  /** Nodes that may know who it is. */
  readonly contacts: () => readonly PeerAddress[]
}

export class ActiveController {
  readonly #parts: ActiveControllerParts
  #nextContact = 0

  constructor(parts: ActiveControllerParts) {
    this.#parts = parts
  }

  /** Rejects as the active controller does, and with `NOT_CONTROLLER` or `UNAVAILABLE` when none is found. */
  ask<Name extends ControllerCall>(
    name: Name,
    request: RequestOf<Name>,
    options: { readonly isForwarded?: boolean } = {},
  ): Promise<ResponseOf<Name>> {
    const local = this.#parts.local()
    if (local !== undefined && (local.leadership.isActive || options.isForwarded)) {
      return (local[name] as (request: RequestOf<Name>) => Promise<ResponseOf<Name>>).call(local, request)
    }
    if (options.isForwarded) return Promise.reject(new TidemarkError('NOT_CONTROLLER', 'this node is no controller', { outcome: 'failed' }))
    return this.#askAfar(name, request)
  }

  async #askAfar<Name extends ControllerCall>(name: Name, request: RequestOf<Name>): Promise<ResponseOf<Name>> {
    const definition = CALLS[name] as unknown as MethodDefinition<RequestOf<Name>, ResponseOf<Name>>
    const channels = await this.#parts.channels()
    const timeoutMs = NODE_CALLS.has(name) ? NODE_CALL_TIMEOUT_MS : CALL_TIMEOUT_MS
    let address = this.#parts.leader()
    let last = new TidemarkError('NOT_CONTROLLER', 'no active controller is known', { outcome: 'failed', retryAfterMs: 100 })
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      address ??= this.#contact()
      if (address === undefined) break
      try {
        const { response, version } = await channels.call(address, definition, request, { timeoutMs, isForwarded: true })
        if (version > 0) await this.#parts.view.waitForVersion(version - 1, { timeoutMs: CATCH_UP_TIMEOUT_MS })
        return response
      } catch (error) {
        last = TidemarkError.from(error)
        // Anything else may have been done: only the asker knows whether to ask again.
        if (last.code !== 'NOT_CONTROLLER' && !isUnreached(last)) throw last
        address = last.code === 'NOT_CONTROLLER' ? last.leader : undefined
      }
    }
    throw isUnreached(last) ? nobodyReached(last) : last
  }

  #contact(): PeerAddress | undefined {
    const contacts = this.#parts.contacts()
    return contacts[this.#nextContact++ % Math.max(1, contacts.length)]
  }
}

/** Whoever asked knows this node, and not the one that does not answer it. */
function nobodyReached(cause: TidemarkError): TidemarkError {
  return new TidemarkError(
    'NOT_CONTROLLER',
    'this node reaches no active controller: others do not answer it, and too few may be left to have one',
    {
      cause,
      outcome: 'failed',
      retryAfterMs: 100,
    },
  )
}

/** The request has not left this node. */
function isUnreached({ code, cause }: TidemarkError): boolean {
  const details = cause instanceof Error && 'details' in cause ? String(cause.details) : ''
  return code === 'UNAVAILABLE' && /No connection established|ECONNREFUSED|Name resolution/.test(details)
}
