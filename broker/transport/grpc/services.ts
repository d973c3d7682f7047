/** All of the gRPC side at once: what `server.ts` loads while the disk is busy with the metadata. */
import type * as grpc from '@grpc/grpc-js'
import { HealthService } from '../../../protocol/gen/grpc/health/v1/health.ts'
import { ClusterService } from '../../../protocol/gen/tidemark/v1/cluster.ts'
import { logService } from '../../../protocol/log-codec.ts'
import { ControllerService } from '../../../protocol/gen/tidemark/v1/controller.ts'
import { QuorumService } from '../../../protocol/gen/tidemark/v1/quorum.ts'
import { ReplicaService } from '../../../protocol/gen/tidemark/v1/replica.ts'
import type { Broker } from '../../broker.ts'
import type { Limits } from '../../config.ts'
import type { ControllerNode } from '../../controller-node.ts'
import { createClusterService } from './cluster-service.ts'
import { createGrpcServer, type GrpcServer } from './grpc-server.ts'
import { createHealthService } from './health-service.ts'
import { createControllerService } from './controller-service.ts'
import { addGroups } from './late-groups-service.ts'
import { lateService } from './late-service.ts'
import { createLogService } from './log-service.ts'
import { createQuorumService } from './quorum-service.ts'
import { addReflection } from './reflection-service.ts'
import { createReplicaService } from './replica-service.ts'
import { decodable } from './requests.ts'

/** Where services are added: a server of grpc-js, or what stands for one. */
export type ServiceHost = Pick<grpc.Server, 'addService'>

export function openGrpcServer(limits: Limits): GrpcServer {
  return createGrpcServer(limits)
}

/** Serves the other nodes: from the start, because a quorum must come together before anything else can. */
export function addNodeServices(server: ServiceHost, node: () => ControllerNode | undefined): void {
  server.addService(
    decodable(QuorumService),
    createQuorumService(() => node()?.log.receiver),
  )
  server.addService(decodable(ControllerService), createControllerService(node))
}

/** Serves the broker, once there is one; until then calls are refused for the moment. */
export function addServices(server: ServiceHost, broker: () => Broker | undefined): void {
  const add = (definition: grpc.ServiceDefinition, create: (broker: Broker) => grpc.UntypedServiceImplementation): void => {
    let made: grpc.UntypedServiceImplementation | undefined
    server.addService(
      decodable(definition),
      lateService(definition, () => {
        const present = broker()
        if (made === undefined && present !== undefined) made = create(present)
        return made
      }),
    )
  }
  add(logService, createLogService)
  add(ClusterService, createClusterService)
  add(ReplicaService, createReplicaService)
  add(HealthService, createHealthService)
  addGroups(server, broker)
  addReflection(server)
}
