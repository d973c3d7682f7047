/**
 * The cases that other projects found worth having: each stands in the title of a test here, is a scenario in `script/testdata/`, or is named
 * in docs/internals/raft.md with the reason why it does not apply.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

/** One test for each sentence of the Raft paper, as etcd's suite has them. */
const PAPER = `
  FollowerUpdateTermFromMessage CandidateUpdateTermFromMessage LeaderUpdateTermFromMessage RejectStaleTermMessage StartAsFollower
  LeaderBcastBeat FollowerStartElection CandidateStartNewElection LeaderElectionInOneRoundRPC FollowerVote CandidateFallback
  FollowerElectionTimeoutRandomized CandidateElectionTimeoutRandomized FollowersElectionTimeoutNonconflict
  CandidatesElectionTimeoutNonconflict LeaderStartReplication LeaderCommitEntry LeaderAcknowledgeCommit LeaderCommitPrecedingEntries
  FollowerCommitEntry FollowerCheckMsgApp FollowerAppendEntries LeaderSyncFollowerLog VoteRequest Voter
  LeaderOnlyCommitsLogFromCurrentTerm`

/** Of etcd's suite. */
const CORE = `
  LeaderElection LeaderElectionPreVote LeaderCycle LeaderCyclePreVote LeaderElectionOverwriteNewerLogs
  LeaderElectionOverwriteNewerLogsPreVote VoteFromAnyState PreVoteFromAnyState DuelingCandidates DuelingPreCandidates CandidateConcede
  SingleNodeCandidate SingleNodePreCandidate OldMessages PastElectionTimeout StepIgnoreOldTermMsg RecvMsgVote RecvMsgPreVote
  StateTransition AllServerStepdown CandidateResetTermMsgHeartbeat CandidateResetTermMsgApp CandidateSelfVoteAfterLostElection
  CandidateSelfVoteAfterLostElectionPreVote CandidateDeliversPreCandidateSelfVoteAfterBecomingCandidate
  LeaderMsgAppSelfAckAfterTermChange CampaignWhileLeader PreCampaignWhileLeader NodeWithSmallerTermCanCompleteElection
  PreVoteWithSplitVote PreVoteWithCheckQuorum PreVoteMigrationCanCompleteElection PreVoteMigrationWithFreeStuckPreCandidate

  LeaderStepdownWhenQuorumActive LeaderStepdownWhenQuorumLost LeaderSupersedingWithCheckQuorum LeaderElectionWithCheckQuorum
  FreeStuckCandidateWithCheckQuorum NonPromotableVoterWithCheckQuorum AddNodeCheckQuorum DisruptiveFollower DisruptiveFollowerPreVote

  LogReplication SingleNodeCommit CannotCommitWithoutNewTermEntry CommitWithoutNewTermEntry Proposal ProposalByProxy Commit HandleMsgApp
  HandleHeartbeat HandleHeartbeatResp MsgAppRespWaitReset LeaderAppResp BcastBeat RecvMsgBeat LeaderIncreaseNext FastLogRejection
  LogReplicationWithReorderedMessage

  ProgressLeader ProgressResumeByHeartbeatResp ProgressPaused ProgressFlowControl UncommittedEntryLimit SendAppendForProgressProbe
  SendAppendForProgressReplicate SendAppendForProgressSnapshot RecvMsgUnreachable MsgAppFlowControlFull MsgAppFlowControlMoveForward
  MsgAppFlowControlRecvHeartbeat InflightsAdd InflightsFreeTo InflightsFull InflightsReset ProgressString ProgressIsPaused ProgressResume
  ProgressBecomeProbe ProgressBecomeReplicate ProgressBecomeSnapshot ProgressUpdate ProgressMaybeDecr

  ReadOnlyOptionSafe ReadOnlyOptionLease ReadOnlyWithLearner ReadOnlyForNewLeader ReadOnlyDuplicateRequest RaftFreesReadOnlyMem
  NodeReadIndexToOldLeader

  Restore RestoreWithLearner RestoreWithVotersOutgoing RestoreVoterToLearner RestoreLearnerPromotion LearnerReceiveSnapshot
  RestoreIgnoreSnapshot ProvideSnap IgnoreProvidingSnap RestoreFromSnapMsg SlowNodeRestore SendingSnapshotSetPendingSnapshot
  PendingSnapshotPauseReplication SnapshotFailure SnapshotSucceed SnapshotAbort

  StepConfig StepIgnoreConfig NewLeaderPendingConfig AddNode AddLearner RemoveNode RemoveLearner Promotable RaftNodes
  CommitAfterRemoveNode ConfChangeCheckBeforeCampaign ConfChangeV2CheckBeforeCampaign TransferNonMember LearnerElectionTimeout
  LearnerPromotion LearnerCanVote LearnerCampaign LearnerLogReplication

  LeaderTransferToUpToDateNode LeaderTransferToUpToDateNodeFromFollower LeaderTransferWithCheckQuorum LeaderTransferToSlowFollower
  LeaderTransferAfterSnapshot LeaderTransferToSelf LeaderTransferToNonExistingNode LeaderTransferTimeout LeaderTransferIgnoreProposal
  LeaderTransferReceiveHigherTermVote LeaderTransferRemoveNode LeaderTransferDemoteNode LeaderTransferBack
  LeaderTransferSecondTransferToAnotherNode LeaderTransferSecondTransferToSameNode

  FindConflict FindConflictByTerm IsUpToDate Append LogMaybeAppend CompactionSideEffects HasNextCommittedEnts NextCommittedEnts
  AcceptApplying AppliedTo NextUnstableEnts CommitTo StableTo StableToWithSnap Compaction LogRestore IsOutOfBounds Term
  TermWithUnstableSnapshot Slice Scan
  UnstableMaybeFirstIndex UnstableMaybeLastIndex UnstableMaybeTerm UnstableRestore UnstableNextEntries UnstableNextSnapshot
  UnstableAcceptInProgress UnstableStableTo UnstableTruncateAndAppend
  StorageTerm StorageEntries StorageLastIndex StorageFirstIndex StorageCompact StorageCreateSnapshot StorageAppend StorageApplySnapshot

  RawNodeStep RawNodeProposeAndConfChange RawNodeJointAutoLeave RawNodeProposeAddDuplicateNode RawNodeReadIndex RawNodeStart
  RawNodeRestart RawNodeRestartFromSnapshot CommitPaginationAfterRestart BoundedLogGrowthWithPartition ConsumeReady
  NodeProposeWaitDropped BlockProposal CommitPagination CommitPaginationAsync`

/** Scenarios of etcd's suite. */
const SCENARIOS = `
  single_node campaign campaign_learner_must_vote checkquorum prevote prevote_checkquorum probe_and_replicate replicate_pause
  slow_follower_after_compaction snapshot_succeed_via_app_resp snapshot_succeed_via_app_resp_behind heartbeat_resp_recovers_from_probing
  lagging_commit forget_leader forget_leader_prevote_checkquorum forget_leader_read_only_lease_based confchange_v1_add_single
  confchange_v1_remove_leader confchange_v1_remove_leader_stepdown confchange_v2_add_single_auto confchange_v2_add_single_explicit
  confchange_v2_add_double_auto confchange_v2_add_double_implicit confchange_v2_replace_leader confchange_v2_replace_leader_stepdown
  confchange_disable_validation async_storage_writes async_storage_writes_append_aba_race majority_commit majority_vote joint_commit
  joint_vote`

/** Of Apache Kafka's simulation of its quorum: what is done, and what must hold after every event. */
const SIMULATION = `
  canElectInitialLeader canElectNewLeaderAfterOldLeaderFailure canRecoverAfterAllNodesKilled
  canElectNewLeaderAfterOldLeaderPartitionedAway canMakeProgressIfMajorityIsReachable canMakeProgressAfterBackToBackLeaderFailures
  canRecoverFromSingleNodeCommittedDataLoss
  MonotonicHighWatermark MonotonicEpoch MajorityReachedHighWatermark SingleLeader SnapshotAtLogStart LeaderNeverLoadSnapshot
  ConsistentCommittedData`

const here = new URL('./', import.meta.url)
const itself = new URL(import.meta.url).pathname.split('/').at(-1)
const sources = readdirSync(here).filter((name) => name.endsWith('.ts') && name !== itself)
const text = sources.map((name) => readFileSync(new URL(name, here), 'utf8')).join('\n')
const scenarios = readdirSync(new URL('script/testdata/', here)).map((name) => name.replace(/\.txt$/, ''))
/** First cells of the rows of the page that are names in code marks. */
const page = readFileSync(new URL('../../../docs/internals/raft.md', here), 'utf8')
const excluded = new Set(
  [...page.matchAll(/^\| (`\w+`(?:, `\w+`)*) \|/gm)].flatMap((row) => [...(row[1] ?? '').matchAll(/\w+/g)].map(String)),
)

const namesOf = (list: string): string[] => list.trim().split(/\s+/)

describe('every case', () => {
  for (const [id, list] of Object.entries({ 'R-paper': PAPER, 'R-core': CORE, 'R-kraft': SIMULATION }))
    it(`of ${id} is tested under its name, or does not apply for a reason`, () => {
      for (const name of namesOf(list)) {
        // At the beginning of a title, alone or with others; rules stand at the end of what is said when they are broken.
        const isTested = new RegExp(`['" (\\x60]${name}[:,')]`).test(text)
        expect([name, isTested !== excluded.has(name)]).toEqual([name, true])
      }
    })

  it('of R-dd has a scenario of its name, or does not apply for a reason', () => {
    for (const name of namesOf(SCENARIOS)) expect([name, scenarios.includes(name) !== excluded.has(name)]).toEqual([name, true])
  })
})
