/** All of the gRPC side at once: what `server.ts` loads while the disk is busy with the metadata. */
import { HealthService } from '../../../protocol/gen/grpc/health/v1/health.ts'
import { ClusterService } from '../../../protocol/gen/tidemark/v1/cluster.ts'
import { logService } from '../../../protocol/log-codec.ts'
import type { Broker } from '../../broker.ts'
import type { Limits } from '../../config.ts'
import { createClusterService } from './cluster-service.ts'
import { createGrpcServer, type GrpcServer } from './grpc-server.ts'
import { createHealthService } from './health-service.ts'
import { createLogService } from './log-service.ts'

export function openGrpcServer(limits: Limits): GrpcServer {
  return createGrpcServer(limits)
}

/** Serves the broker; until then every call is answered with UNIMPLEMENTED. */
export function addServices({ server }: GrpcServer, broker: Broker): void {
  server.addService(logService, createLogService(broker))
  server.addService(ClusterService, createClusterService(broker))
  server.addService(HealthService, createHealthService(broker))
}
