/** The `Groups` service: a thin translation to the operations. */
import type { GroupsServer } from '../../../protocol/gen/tidemark/v1/groups.ts'
import type { Broker } from '../../broker.ts'
import { describeGroups } from '../../operations/describe-groups.ts'
import { commitOffsets, deleteGroups, deleteOffsets, fetchOffsets, findCoordinators, listGroups } from '../../operations/groups.ts'
import { heartbeat } from '../../operations/heartbeat.ts'
import { resetOffsets } from '../../operations/reset-offsets.ts'
import { unary } from './status.ts'

export function createGroupsService(broker: Broker): GroupsServer {
  return {
    findCoordinators: unary((request, { authority }) => findCoordinators(broker, request, authority)),
    heartbeat: unary((request, context) => heartbeat(broker, request, context)),
    commitOffsets: unary((request) => commitOffsets(broker, request)),
    fetchOffsets: unary((request) => fetchOffsets(broker, request)),
    listGroups: unary(async (request) => listGroups(broker, request)),
    describeGroups: unary((request) => describeGroups(broker, request)),
    resetOffsets: unary((request) => resetOffsets(broker, request)),
    deleteGroups: unary((request) => deleteGroups(broker, request)),
    deleteOffsets: unary((request) => deleteOffsets(broker, request)),
  }
}
