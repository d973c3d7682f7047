/** The real network of a node: one TCP port for gRPC and HTTP. */
import type { NodeNetwork } from '../node-network.ts'
import { createHttpServer } from './http/http-server.ts'
import { Port } from './port.ts'

/** The largest thing to load. */
let loading: Promise<typeof import('./grpc/services.ts')> | undefined

function loadServices(): Promise<typeof import('./grpc/services.ts')> {
  loading ??= import('./grpc/services.ts')
  return loading
}

export const tcpNetwork: NodeNetwork = {
  prepare() {
    // Who listens hears of it.
    loadServices().catch(() => {})
  },

  async listen({ broker, controllerNode }, { listen, limits }, { timers, log }) {
    const http = createHttpServer(broker)
    const services = await loadServices()
    const grpc = services.openGrpcServer(limits)
    services.addNodeServices(grpc.server, controllerNode)
    services.addServices(grpc.server, broker)
    const port = new Port(
      { ...listen, connectionsMax: limits.connectionsMax, handshakeTimeoutMs: limits.handshakeTimeoutMs },
      {
        http1: (socket) => http.inject(socket),
        http2: (socket) => grpc.inject(socket),
        closed: (peer) => broker()?.connectionClosed(peer),
      },
      timers,
      log,
    )
    const destroy = (): void => {
      http.close()
      port.destroy()
    }
    try {
      return {
        port: await port.listen(),
        stats: port,
        stop: () => port.stopListening(),
        drain: (graceMs) => grpc.shutdown(graceMs),
        destroy,
      }
    } catch (error) {
      await grpc.shutdown(0)
      destroy()
      throw error
    }
  },
}
