/** The committed metadata log for nodes that follow from afar: a long poll. */
import type { MetadataBatch } from '../protocol/gen/tidemark/v1/metadata.ts'
import type { FetchMetadataRequest, FetchMetadataResponse } from '../protocol/gen/tidemark/v1/controller.ts'
import type { MetadataView } from './metadata-view.ts'
import { withRegistered } from './quorum-changes.ts'
import type { RaftLog } from './raft-log.ts'

/** Records in one answer; a batch that has more is sent alone. */
const RECORDS_MAX = 20_000

/** Longest time a request is parked. */
const WAIT_MAX_MS = 60_000

export async function fetchMetadata(
  log: RaftLog,
  view: MetadataView,
  { fromOffset, maxWaitMs }: FetchMetadataRequest,
  signal: AbortSignal,
): Promise<FetchMetadataResponse> {
  if (fromOffset >= log.delivery.nextOffset && maxWaitMs > 0)
    await view.waitForVersion(fromOffset, { timeoutMs: Math.min(maxWaitMs, WAIT_MAX_MS), signal })
  const { delivery } = log
  // Ahead of this node: it has heard more than we have yet.
  const isAhead = fromOffset > delivery.nextOffset
  const snapshot = isAhead || delivery.reaches(fromOffset) ? undefined : delivery.snapshot()
  const { voters, learners } = log.status.confState
  return {
    error: undefined,
    clusterId: view.image.clusterId,
    controllerId: log.leadership.leaderId,
    snapshot,
    batches: isAhead ? [] : upTo(RECORDS_MAX, delivery.batchesFrom(snapshot?.version ?? fromOffset, RECORDS_MAX)),
    voters: withRegistered(log.members.describe([...voters, ...learners]), view.image),
  }
}

function upTo(recordsMax: number, batches: readonly MetadataBatch[]): MetadataBatch[] {
  let records = 0
  const end = batches.findIndex((batch, at) => {
    records += batch.records.length
    return records > recordsMax && at > 0
  })
  return batches.slice(0, end < 0 ? batches.length : end)
}
