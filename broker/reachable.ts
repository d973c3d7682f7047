/** What a node that joins asks of a running cluster, and whether its nodes can be reached where it says they are. */
import type { PeerAddress, PeerChannels } from '../controller/peer-channels.ts'
import { formatAddress } from '../protocol/addresses.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { ControllerService, type VoterDescription } from '../protocol/gen/tidemark/v1/controller.ts'
import type { Runtime } from '../runtime/runtime.ts'
import type { NodeConfig } from './config.ts'
import { isWildcard } from './setting-values.ts'

const ASK_TIMEOUT_MS = 3000
const RETRY_MS = 200

/** Asks the nodes of a running cluster who its controllers are, until one answers. Throws `SHUTTING_DOWN` once `signal` aborts. */
export async function askForVoters(
  channels: PeerChannels,
  { join, nodeId }: Pick<NodeConfig, 'join' | 'nodeId'>,
  clusterId: string,
  { timers, log }: Pick<Runtime, 'timers' | 'log'>,
  signal: AbortSignal,
): Promise<readonly VoterDescription[]> {
  const request = { clusterId, nodeId, fromOffset: 0, maxWaitMs: 0 }
  for (let attempt = 0; !signal.aborted; attempt++) {
    const address = join[attempt % join.length] as PeerAddress
    try {
      const { response } = await channels.call(address, ControllerService.fetchMetadata, request, { timeoutMs: ASK_TIMEOUT_MS, signal })
      refuseUnreachable(response.voters)
      return response.voters
    } catch (error) {
      const known = TidemarkError.from(error)
      if (known.code === 'INCONSISTENT_CLUSTER_ID' || known.code === 'INVALID_CONFIG') throw known
      if (signal.aborted) break
      log.info('cluster.unreached', { address: formatAddress(address.host, address.port), error: known.message })
      await new Promise<void>((resolve) => timers.after(RETRY_MS, resolve))
    }
  }
  throw new TidemarkError('SHUTTING_DOWN')
}

/** Throws `INVALID_CONFIG`. A node that was alone may have told only "every address of my machine", which was enough until somebody else came. */
export function refuseUnreachable(nodes: readonly { readonly nodeId: number; readonly host: string; readonly port: number }[]): void {
  const node = nodes.find(({ host }) => isWildcard(host))
  if (node !== undefined)
    throw new TidemarkError(
      'INVALID_CONFIG',
      `node ${node.nodeId} of that cluster is known as ${formatAddress(node.host, node.port)}, where no other node reaches it: restart it with advertise`,
    )
}
