/** The `Cluster` service: a thin translation to the operations. */
import type { ClusterServer } from '../../../protocol/gen/tidemark/v1/cluster.ts'
import type { Broker } from '../../broker.ts'
import { alterConfigs, describeConfigs } from '../../operations/configs.ts'
import { alterNodes, electLeaders, listReassignments, reassign } from '../../operations/moves.ts'
import { createTopics, deleteTopics, describeCluster, describeTopics, growTopics } from '../../operations/topics.ts'
import { unary } from './status.ts'

export function createClusterService(broker: Broker): ClusterServer {
  const version = (): number => broker.view.image.version
  return {
    describeCluster: unary(async (_request, { authority }) => {
      broker.checkServing()
      return describeCluster(broker, authority)
    }),
    describeTopics: unary((request, context) => describeTopics(broker, request, context)),
    createTopics: unary((request, context) => createTopics(broker, request, context), version),
    deleteTopics: unary((request, context) => deleteTopics(broker, request, context), version),
    growTopics: unary((request, context) => growTopics(broker, request, context), version),
    describeConfigs: unary((request) => describeConfigs(broker, request)),
    alterConfigs: unary((request, context) => alterConfigs(broker, request, context), version),
    initProducer: unary(async () => {
      broker.checkServing()
      return { producerId: await broker.producerIds.take(), producerEpoch: 0 }
    }),
    electLeaders: unary((request, context) => electLeaders(broker, request, context), version),
    reassign: unary((request, context) => reassign(broker, request, context), version),
    listReassignments: unary((request, context) => listReassignments(broker, request, context), version),
    alterNodes: unary((request, context) => alterNodes(broker, request, context), version),
    describeQuorum: unary((request, context) => broker.controller.ask('describeQuorum', request, context)),
    alterQuorum: unary((request, context) => broker.controller.ask('alterQuorum', request, context)),
  }
}
