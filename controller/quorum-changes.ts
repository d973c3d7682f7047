/** Who is in the quorum, and changing it: one member at a time, a new one as a learner until it has caught up. */
import { TidemarkError } from '../protocol/errors.ts'
import { type AlterQuorumRequest, type DescribeQuorumResponse, QuorumAction } from '../protocol/gen/tidemark/v1/cluster.ts'
import type { VoterDescription } from '../protocol/gen/tidemark/v1/controller.ts'
import type { Timers } from '../runtime/runtime.ts'
import type { MetadataImage } from './metadata/image.ts'
import type { QuorumMembers } from './quorum-members.ts'
import type { ConfChange } from './raft/messages.ts'
import type { Status } from './raft/raw-node.ts'

/** How long a call waits for a learner; whoever asks again goes on where it was. */
const CATCH_UP_MS = 8000
const LOOK_EVERY_MS = 20

/** A learner that is behind by no more than this many entries gets them with the entry that makes it a voter. */
const BEHIND_MAX = 50

/** The log whose quorum it is. */
export interface QuorumLog {
  readonly status: Status
  readonly members: QuorumMembers
  changeMembers(type: ConfChange['type'], member: VoterDescription): Promise<void>
}

export function describeQuorum({ status, members }: QuorumLog): DescribeQuorumResponse {
  const { leader, term, commit, confState, peers, id, role, lastIndex } = status
  const describe = (nodeIds: readonly number[], voter: boolean): DescribeQuorumResponse['members'] =>
    members.describe(nodeIds).map((member) => {
      const isSelf = member.nodeId === id
      const peer = peers.find((known) => known.id === member.nodeId)
      const matchIndex = role !== 'leader' ? 0 : isSelf ? lastIndex : (peer?.match ?? 0)
      return { ...member, voter, matchIndex, alive: isSelf || peer?.isAlive === true || member.nodeId === leader }
    })
  return {
    leaderId: leader === 0 ? -1 : leader,
    term,
    committedIndex: commit,
    members: [...describe(confState.voters, true), ...describe(confState.learners, false)],
  }
}

/** With the addresses at which nodes registered: newer than where they were when they were let in. */
export function withRegistered<Member extends VoterDescription>(
  members: readonly Member[],
  { nodes }: Pick<MetadataImage, 'nodes'>,
): Member[] {
  return members.map((member) => {
    const { host, port } = nodes.get(member.nodeId) ?? member
    return { ...member, host, port }
  })
}

/** Rejects with `INVALID_REQUEST`, and with the retriable `BUSY` while a new member has yet to catch up, `DUPLICATE_NODE` while another process is it. */
export async function alterQuorum(log: QuorumLog, timers: Timers, request: AlterQuorumRequest): Promise<void> {
  const { action, nodeId, directoryId, host, port } = request
  if (!Number.isInteger(nodeId) || nodeId < 1)
    throw new TidemarkError('INVALID_REQUEST', `${nodeId} cannot be a controller: ids are from 1 on`)
  switch (action) {
    case QuorumAction.REMOVE:
      if (isMember(log, nodeId)) await log.changeMembers('remove', { nodeId, directoryId: '', host: '', port: 0 })
      return
    case QuorumAction.ADD:
      if (directoryId === '' || host === '' || port < 1)
        throw new TidemarkError('INVALID_REQUEST', 'a new controller comes with its directory id, host and port')
      await add(log, timers, { nodeId, directoryId, host, port })
      return
    default:
      throw new TidemarkError('INVALID_REQUEST', `${String(action)} is nothing that can be done to a quorum`)
  }
}

async function add(log: QuorumLog, timers: Timers, member: VoterDescription): Promise<void> {
  const { nodeId } = member
  // With another disk it is not the one that voted: the old one goes first, once nothing is heard of it.
  if (isMember(log, nodeId) && log.members.directoryOf(nodeId) !== member.directoryId) {
    refuseWhileAlive(log, member)
    await log.changeMembers('remove', member)
  }
  if (log.status.confState.voters.includes(nodeId)) return
  if (!isMember(log, nodeId)) await log.changeMembers('addLearner', member)
  for (let waitedMs = 0; !hasCaughtUp(log.status, nodeId); waitedMs += LOOK_EVERY_MS) {
    if (waitedMs >= CATCH_UP_MS)
      throw new TidemarkError('BUSY', `node ${nodeId} learns, and has yet to catch up with the quorum`, { retryAfterMs: 500 })
    await new Promise<void>((resolve) => timers.after(LOOK_EVERY_MS, resolve))
  }
  await log.changeMembers('addVoter', member)
}

/** Two processes with one id: the one that votes keeps its place. */
function refuseWhileAlive({ status: { id, peers }, members }: QuorumLog, { nodeId, directoryId }: VoterDescription): void {
  if (nodeId !== id && peers.find((peer) => peer.id === nodeId)?.isAlive !== true) return
  throw new TidemarkError(
    'DUPLICATE_NODE',
    `controller ${nodeId} is alive with the data directory ${members.directoryOf(nodeId)}, another process comes with ${directoryId}`,
  )
}

function isMember({ status: { confState } }: QuorumLog, nodeId: number): boolean {
  return confState.voters.includes(nodeId) || confState.learners.includes(nodeId)
}

function hasCaughtUp({ peers, lastIndex }: Status, nodeId: number): boolean {
  const peer = peers.find(({ id }) => id === nodeId)
  return peer !== undefined && peer.isAlive && peer.match > 0 && peer.match >= lastIndex - BEHIND_MAX
}
