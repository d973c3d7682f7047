/**
 * Opens the log of a partition. One whose durable part is damaged is set aside and fetched anew, where that loses nothing: another
 * node leads, and nobody counts on the copy here. Where somebody does, it stays as it is and the partition fails on this node.
 */
import type { PartitionMetadata } from '../../controller/metadata/image.ts'
import type { DataDir } from '../../log/data-dir.ts'
import type { LogOptions } from '../../log/log-types.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { Log } from '../../runtime/runtime.ts'

/** The copy on this node is in nobody's account: others have everything. */
export function mayBeRefetched({ leader, isr, elr }: PartitionMetadata, nodeId: number): boolean {
  return leader >= 0 && leader !== nodeId && !isr.includes(nodeId) && !elr.includes(nodeId)
}

/** `metadata`: as it is when the damage has been found. Throws as `DataDir.openLog`. */
export async function openOrSetAside(
  dataDir: DataDir,
  log: Log,
  options: LogOptions,
  nodeId: number,
  metadata: () => PartitionMetadata,
): Promise<PartitionLog> {
  try {
    return await dataDir.openLog(options)
  } catch (error) {
    saySetAside(error, { ...options, metadata: metadata() }, nodeId, log)
    return dataDir.resetLog(options, 0)
  }
}

/** Says that a copy is set aside, to be fetched anew. Throws `error` where it is not: it says of no damage, or somebody counts on the copy. */
export function saySetAside(
  error: unknown,
  { topic, partition, metadata }: { readonly topic: string; readonly partition: number; readonly metadata: PartitionMetadata },
  nodeId: number,
  log: Log,
): void {
  if (!TidemarkError.is(error) || error.code !== 'CORRUPT_LOG' || !mayBeRefetched(metadata, nodeId)) throw error
  log.error('replica.set-aside', { topic, partition, leaderId: metadata.leader, error: error.message })
}
