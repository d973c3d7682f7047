/** The `Cluster` service: a thin translation to the operations. */
import { TidemarkError } from '../../../protocol/errors.ts'
import type { ClusterServer } from '../../../protocol/gen/tidemark/v1/cluster.ts'
import type { Broker } from '../../broker.ts'
import { alterConfigs, describeConfigs } from '../../operations/configs.ts'
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
    describeConfigs: unary(async (request) => describeConfigs(broker, request)),
    alterConfigs: unary((request, context) => alterConfigs(broker, request, context), version),
    initProducer: unary(async () => {
      broker.checkServing()
      return { producerId: await broker.producerIds.take(), producerEpoch: 0 }
    }),
    electLeaders: unary(notYet),
    reassign: unary(notYet),
    listReassignments: unary(notYet),
    alterNodes: unary(notYet),
    describeQuorum: unary((request, context) => broker.controller.ask('describeQuorum', request, context)),
    alterQuorum: unary((request, context) => broker.controller.ask('alterQuorum', request, context)),
  }
}

/** A cluster of one node has nothing to elect, move or vote on. */
async function notYet(): Promise<never> {
  throw new TidemarkError('UNSUPPORTED', 'a cluster of one node has nothing to move')
}
