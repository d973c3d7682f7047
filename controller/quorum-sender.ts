/** Whether a controller that speaks is the one that votes. */
import { TidemarkError } from '../protocol/errors.ts'
import type { QuorumMembers } from './quorum-members.ts'
import type { QuorumSender } from './quorum-transport.ts'

export interface SenderRules {
  readonly nodeId: number
  /** Empty while it is not known. */
  readonly clusterId: string
  readonly members: QuorumMembers
  /** The disk of `nodeId` is an earlier image of itself. */
  readonly isOlderDisk: ((nodeId: number, sender: QuorumSender) => boolean) | undefined
}

/** Throws `INCONSISTENT_CLUSTER_ID`, and `DATA_DIR_INVALID` when what `from` promised is not on the disk that it speaks from. */
export function checkSender(from: number, sender: QuorumSender, { nodeId, clusterId, members, isOlderDisk }: SenderRules): void {
  if (sender.clusterId !== '' && clusterId !== '' && sender.clusterId !== clusterId)
    throw new TidemarkError('INCONSISTENT_CLUSTER_ID', `node ${from} is of cluster ${sender.clusterId}, node ${nodeId} of ${clusterId}`)
  if (!members.admits(from, sender.directoryId))
    throw new TidemarkError(
      'DATA_DIR_INVALID',
      `controller ${from} votes with the data directory ${members.directoryOf(from)} and comes with ${sender.directoryId}; bring the old one back, or remove the node from the quorum and let it join again`,
    )
  if (isOlderDisk?.(from, sender) === true)
    throw new TidemarkError(
      'DATA_DIR_INVALID',
      `the data directory of controller ${from} is an older image of itself: what it promised since is not in it`,
    )
}

/** A leader says that this controller has acknowledged an entry that is not on its disk. */
export function forgotten(
  { nodeId, directoryId }: { readonly nodeId: number; readonly directoryId: string },
  acknowledged: number,
  end: number,
): TidemarkError {
  return new TidemarkError(
    'DATA_DIR_OUTDATED',
    `controller ${nodeId} has acknowledged entry ${acknowledged} with the data directory ${directoryId}, and what is there ends at entry ${end}`,
  )
}
