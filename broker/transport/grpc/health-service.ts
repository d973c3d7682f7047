/** The standard gRPC health service, for load balancers and tools. */
import type * as grpc from '@grpc/grpc-js'
import { HealthCheckResponse_ServingStatus as ServingStatus } from '../../../protocol/gen/grpc/health/v1/health.ts'
import type { HealthCheckRequest, HealthCheckResponse, HealthServer } from '../../../protocol/gen/grpc/health/v1/health.ts'
import type { Broker } from '../../broker.ts'
import { nodeHealth } from '../../operations/health.ts'
import { grpcJs } from './grpc-js.ts'

const SERVICES = new Set(['', 'tidemark.v1.Log', 'tidemark.v1.Cluster'])

/** How often a watcher's state is looked at. */
const WATCH_EVERY_MS = 1000

export function createHealthService(broker: Broker): HealthServer {
  return {
    check: (call, callback) => {
      if (SERVICES.has(call.request.service)) callback(null, { status: statusNow(broker) })
      else callback({ code: grpcJs.status.NOT_FOUND, details: `no service named ${call.request.service}` })
    },
    watch: (call) => watch(broker, call),
  }
}

function watch(broker: Broker, call: grpc.ServerWritableStream<HealthCheckRequest, HealthCheckResponse>): void {
  if (!SERVICES.has(call.request.service)) {
    call.write({ status: ServingStatus.SERVICE_UNKNOWN })
    return
  }
  let last: HealthCheckResponse['status'] | undefined
  const tell = (): void => {
    const status = statusNow(broker)
    if (status === last || call.destroyed) return
    last = status
    call.write({ status })
  }
  tell()
  const timer = broker.runtime.timers.every(WATCH_EVERY_MS, tell)
  const stop = (): void => timer.cancel()
  call.on('cancelled', stop)
  call.on('close', stop)
  call.on('error', stop)
}

function statusNow(broker: Broker): HealthCheckResponse['status'] {
  return nodeHealth(broker).isReady ? ServingStatus.SERVING : ServingStatus.NOT_SERVING
}
