/**
 * How a node hangs on the network: what it listens with and how it dials others. `transport/tcp-network.ts` is the real one; a simulation brings
 * its own and runs the same node.
 */
import type { Dial } from '../protocol/grpc-dial.ts'
import type { Runtime } from '../runtime/runtime.ts'
import type { Broker, PortStats } from './broker.ts'
import type { NodeConfig } from './config.ts'
import type { ControllerNode } from './controller-node.ts'

/** What is served. Each part is undefined until the node got far enough to have it; calls that need it are refused for the moment. */
export interface ServedNode {
  readonly broker: () => Broker | undefined
  readonly controllerNode: () => ControllerNode | undefined
}

/** A node's open port. */
export interface Listening {
  readonly port: number
  readonly stats: PortStats
  /** Takes no new connections; those that stand live on. */
  stop(): void
  /** Lets calls under way finish for `graceMs`, then cuts them. Resolves when every call is over. */
  drain(graceMs: number): Promise<void>
  /** Ends every connection. */
  destroy(): void
}

export interface NodeNetwork {
  /** Undefined: as gRPC does. */
  readonly dial?: Dial
  /** Begins with what `listen` will need, while there is nothing else to do. */
  prepare?(): void
  /** Rejects with `ADDRESS_IN_USE` and the like. */
  listen(node: ServedNode, config: NodeConfig, runtime: Runtime): Promise<Listening>
}
