/** Leaders, replicas and nodes: what an operator moves goes through the active controller. */
import type {
  AlterNodesRequest,
  AlterNodesResponse,
  ElectLeadersRequest,
  ElectLeadersResponse,
  ListReassignmentsRequest,
  ListReassignmentsResponse,
  ReassignRequest,
  ReassignResponse,
} from '../../protocol/gen/tidemark/v1/cluster.ts'
import type { Broker } from '../broker.ts'
import type { Origin } from './topics.ts'

export async function electLeaders(broker: Broker, request: ElectLeadersRequest, origin: Origin): Promise<ElectLeadersResponse> {
  broker.checkServing()
  return broker.controller.ask('electLeaders', request, origin)
}

export async function reassign(broker: Broker, request: ReassignRequest, origin: Origin): Promise<ReassignResponse> {
  broker.checkServing()
  return broker.controller.ask('reassign', request, origin)
}

export async function listReassignments(
  broker: Broker,
  request: ListReassignmentsRequest,
  origin: Origin,
): Promise<ListReassignmentsResponse> {
  broker.checkServing()
  return broker.controller.ask('listReassignments', request, origin)
}

export async function alterNodes(broker: Broker, request: AlterNodesRequest, origin: Origin): Promise<AlterNodesResponse> {
  broker.checkServing()
  return broker.controller.ask('alterNodes', request, origin)
}
