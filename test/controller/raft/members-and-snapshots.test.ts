/** Snapshots and changes of the members. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import { type Message, makeMessage } from '../../../controller/raft/messages.ts'
import { ELECTION_TICKS, members, Network, normal, TestNode } from './network.ts'

const nothing = new Uint8Array(0)

/** A leader of two whose follower has said nothing yet. */
function leaderOfTwo(options = {}): TestNode {
  return new TestNode({ voters: [1, 2], ...options }).lead()
}

const appends = (messages: readonly Message[]): Message[] => messages.filter(({ type }) => type === 'append')
const peer = (node: TestNode, id = 2): ReturnType<TestNode['raw']['status']>['peers'][number] | undefined =>
  node.status.peers.find((other) => other.id === id)

function compact(node: TestNode): void {
  const { applied, confState } = node.status
  node.storage.createSnapshot(applied, confState, nothing)
  node.storage.compact(applied)
}

describe('R-core snapshots', () => {
  const snapshot = { meta: { index: 11, term: 11, confState: members([1, 2], [3]) }, data: nothing }

  it('Restore, RestoreFromSnapMsg, RestoreWithLearner: log and members are those of the snapshot', () => {
    const node = new TestNode({ voters: [1, 2] })
    const sent = node.step({ type: 'snapshot', from: 2, term: 11, snapshot })
    expect(node.status).toMatchObject({ leader: 2, lastIndex: 11, commit: 11, applied: 11, confState: snapshot.meta.confState })
    expect(sent).toMatchObject([{ type: 'appendResponse', index: 11 }])
  })

  it('RestoreIgnoreSnapshot: an old one is ignored; of one whose entries are there, the commit index is taken', () => {
    const terms = Array.from({ length: 12 }, () => 11)
    for (const [committed, expected] of [
      [12, 12],
      [3, 11],
    ] as const) {
      const node = new TestNode({ voters: [1, 2], terms, hardState: { commit: committed } })
      const sent = node.step({ type: 'snapshot', from: 2, term: 11, snapshot })
      expect(node.status).toMatchObject({ lastIndex: 12, commit: expected, confState: members([1, 2]) })
      // Not more: what lies beyond the leader may have otherwise.
      expect(sent).toMatchObject([{ type: 'appendResponse', index: expected }])
    }
  })

  it('RestoreIgnoreSnapshot: an old one takes nothing back either of which the entries are compacted', () => {
    const terms = Array.from({ length: 13 }, () => 11)
    const node = new TestNode({ voters: [1, 2], terms, hardState: { commit: 13 } })
    node.flush()
    compact(node)
    const sent = node.step({ type: 'snapshot', from: 2, term: 11, snapshot })
    expect(node.status).toMatchObject({ lastIndex: 13, commit: 13, applied: 13, confState: members([1, 2]) })
    expect(sent).toMatchObject([{ type: 'appendResponse', index: 13 }])
  })

  it('Restore: one in which this node is no member is not for it', () => {
    const node = new TestNode({ id: 4, voters: [1, 2, 4] })
    const sent = node.step({ type: 'snapshot', from: 2, term: 11, snapshot })
    expect(node.status).toMatchObject({ lastIndex: 0, commit: 0, confState: members([1, 2, 4]) })
    expect(sent).toMatchObject([{ type: 'appendResponse', index: 0 }])
  })

  it('RestoreVoterToLearner, RestoreLearnerPromotion, LearnerReceiveSnapshot: a snapshot may change what this node is', () => {
    const toLearner = new TestNode({ id: 3, voters: [1, 2, 3] })
    toLearner.step({ type: 'snapshot', from: 2, term: 11, snapshot })
    expect(toLearner.status.confState).toEqual(members([1, 2], [3]))
    expect(toLearner.tick(3 * ELECTION_TICKS)).toEqual([])
    const toVoter = new TestNode({ id: 2, voters: [1], learners: [2] })
    toVoter.step({ type: 'snapshot', from: 1, term: 11, snapshot })
    expect(toVoter.tick(2 * ELECTION_TICKS)[0]?.type).toBe('vote')
  })

  it('ProvideSnap, SendingSnapshotSetPendingSnapshot, PendingSnapshotPauseReplication, SendAppendForProgressSnapshot: who is behind the log gets a snapshot and nothing else', () => {
    const node = new TestNode({ voters: [1, 2, 3] }).lead()
    node.acknowledgedBy(3)
    compact(node)
    const sent = node.step({ type: 'appendResponse', from: 2, term: 1, index: 0, reject: true })
    expect(sent).toMatchObject([{ type: 'snapshot', to: 2, snapshot: { meta: { index: 1, term: 1 } } }])
    expect(peer(node)).toMatchObject({ state: 'snapshot', isPaused: true })
    expect(appends(node.propose('x')).filter(({ to }) => to === 2)).toEqual([])
  })

  it('IgnoreProvidingSnap: none is sent to a node that was not heard of since the leader looked last', () => {
    const node = new TestNode({ voters: [1, 2, 3], checkQuorum: true }).lead()
    for (const id of [2, 3]) node.acknowledgedBy(id)
    node.propose('x')
    node.acknowledgedBy(3)
    compact(node)
    node.tick(ELECTION_TICKS)
    // It lacks what is compacted, and is probed.
    node.raw.reportUnreachable(2)
    expect(peer(node)).toMatchObject({ state: 'probe', next: 2, isPaused: false, isRecentlyActive: false })
    const snapshots = (messages: readonly Message[]): Message[] => messages.filter(({ type, to }) => type === 'snapshot' && to === 2)
    expect(snapshots(node.propose('x'))).toEqual([])
    expect(snapshots(node.step({ type: 'heartbeatResponse', from: 2, term: 1 }))).toHaveLength(1)
  })

  it('SnapshotFailure, SnapshotSucceed, SnapshotAbort: probing goes on behind what is there then', () => {
    const waiting = (): TestNode => {
      const node = new TestNode({ voters: [1, 2, 3] }).lead()
      node.acknowledgedBy(3)
      compact(node)
      node.step({ type: 'appendResponse', from: 2, term: 1, index: 0, reject: true })
      return node
    }
    const [failed, succeeded, aborted] = [waiting(), waiting(), waiting()] as const
    failed.raw.reportSnapshot(2, false)
    expect(peer(failed)).toMatchObject({ state: 'probe', match: 0, next: 1, isPaused: true })
    succeeded.raw.reportSnapshot(2, true)
    expect(peer(succeeded)).toMatchObject({ state: 'probe', match: 0, next: 2, isPaused: true })
    aborted.acknowledgedBy(2, 1)
    expect(peer(aborted)).toMatchObject({ state: 'replicate', match: 1, next: 2 })
  })

  it('SlowNodeRestore: who was away while the log was compacted catches up', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.isolate(3)
    for (let at = 0; at < 50; at++) network.propose(1)
    compact(network.node(1))
    network.heal()
    network.tick(1, 3)
    network.propose(1)
    network.tick(1, 1)
    expect(network.node(3).status).toMatchObject({ lastIndex: 52, commit: 52 })
  })
})

describe('R-core members', () => {
  const change = (type: 'addVoter' | 'addLearner' | 'remove', nodeId: number) => ({ type, nodeId, context: nothing })

  it('StepIgnoreConfig, StepConfig: one change at a time', () => {
    const node = leaderOfTwo()
    expect(node.raw.proposeConfChange(change('addVoter', 3))).toMatchObject({ ok: false })
    node.acknowledgedBy(2)
    expect(node.raw.proposeConfChange(change('addVoter', 3))).toEqual({ ok: true, index: 2, term: 1 })
    expect(node.raw.proposeConfChange(change('addVoter', 4))).toEqual({ ok: false, reason: 'pending-conf-change' })
  })

  it('NewLeaderPendingConfig: a new leader waits for what its log may hold', () => {
    const node = new TestNode({ voters: [1, 2], terms: [1] }).lead()
    expect(node.raw.proposeConfChange(change('addVoter', 3))).toEqual({ ok: false, reason: 'pending-conf-change' })
  })

  it('no change before a commit of its own term', () => {
    expect(leaderOfTwo().raw.proposeConfChange(change('addVoter', 3))).toEqual({ ok: false, reason: 'no-commit-in-term' })
  })

  it('AddNode, AddLearner, RemoveNode, RemoveLearner, RaftNodes: members stay sorted, each once, and one voter remains', () => {
    const { raw } = new TestNode({ voters: [2], id: 2 })
    expect(raw.applyConfChange(change('addVoter', 1))).toEqual(members([1, 2]))
    expect(raw.applyConfChange(change('addVoter', 1)), 'twice').toEqual(members([1, 2]))
    expect(raw.applyConfChange(change('addLearner', 3))).toEqual(members([1, 2], [3]))
    expect(raw.applyConfChange(change('addVoter', 3)), 'promoted').toEqual(members([1, 2, 3]))
    expect(raw.applyConfChange(change('addLearner', 1)), 'demoted').toEqual(members([2, 3], [1]))
    expect(raw.applyConfChange(change('remove', 1))).toEqual(members([2, 3]))
    expect(raw.applyConfChange(change('remove', 3))).toEqual(members([2]))
    const last = new TestNode({ voters: [1] }).lead()
    expect(last.raw.proposeConfChange(change('remove', 1))).toEqual({ ok: false, reason: 'last-voter' })
  })

  it('CommitAfterRemoveNode: entries that waited for the removed node are committed without it', () => {
    const node = leaderOfTwo()
    node.acknowledgedBy(2)
    node.raw.proposeConfChange(change('remove', 2))
    const { lastIndex } = node.status
    node.propose('waits')
    node.acknowledgedBy(2, lastIndex)
    expect(node.status).toMatchObject({ commit: lastIndex + 1, confState: members([1]) })
  })

  it('a leader that is removed steps down, and the others elect', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.node(1).raw.proposeConfChange(change('remove', 1))
    network.settle()
    expect(network.node(1).status).toMatchObject({ role: 'follower', confState: members([2, 3]) })
    network.campaign(1)
    expect(network.leaders).toEqual([])
    network.campaign(2)
    expect(network.leaders).toEqual([2])
  })

  it('Promotable, LearnerElectionTimeout, LearnerCampaign: only voters ask for votes', () => {
    for (const options of [{ voters: [], learners: [] }, { voters: [2, 3] }, { voters: [2], learners: [1] }]) {
      const node = new TestNode(options)
      expect(node.tick(3 * ELECTION_TICKS)).toEqual([])
      expect(node.campaign()).toEqual([])
    }
  })

  it('LearnerCanVote: it may be a voter and not know it yet', () => {
    const node = new TestNode({ id: 2, voters: [1], learners: [2] })
    expect(node.step({ type: 'vote', from: 1, term: 2 })).toMatchObject([{ type: 'voteResponse', reject: false }])
  })

  it('LearnerLogReplication, LearnerPromotion: a learner gets the log, counts for nothing, and may lead once promoted', () => {
    const network = new Network([1, 2].map((id) => new TestNode({ id, voters: [1], learners: [2] })))
    network.campaign(1)
    network.isolate(2)
    network.propose(1)
    expect(network.node(1).status.commit).toBe(2)
    network.heal()
    network.tick(1, 2)
    expect(network.node(2).status.commit).toBe(2)
    network.node(1).raw.proposeConfChange(change('addVoter', 2))
    network.settle()
    network.tick(1, 1)
    network.campaign(2)
    expect(network.leaders).toEqual([2])
  })

  it('ConfChangeCheckBeforeCampaign: nobody asks for votes while a committed change waits to be applied', () => {
    const node = new TestNode({ voters: [1, 2] })
    const entries = [{ index: 1, term: 1, type: 'confChange', change: change('addVoter', 3) } as const]
    node.raw.step({
      type: 'append',
      from: 2,
      to: 1,
      term: 1,
      logTerm: 0,
      index: 0,
      commit: 1,
      entries,
      reject: false,
      rejectHint: 0,
      snapshot: undefined,
      context: '',
    })
    node.raw.campaign()
    expect(node.role).toBe('follower')
    node.flush()
    node.raw.campaign()
    expect(node.role).toBe('candidate')
  })

  it('ConfChangeCheckBeforeCampaign, Scan: however many entries come before the change', () => {
    const entries = [
      ...Array.from({ length: 20 }, (_, at) => normal(at + 1, 1, 'some data')),
      { index: 21, term: 1, type: 'confChange', change: change('addVoter', 3) } as const,
    ]
    const node = new TestNode({ voters: [1, 2], maxCommittedBytes: 60 })
    node.raw.step(makeMessage({ type: 'append', from: 2, to: 1, term: 1, commit: 21, entries }))
    node.raw.campaign()
    expect(node.role).toBe('follower')
    node.flush()
    node.raw.campaign()
    expect(node.role).toBe('candidate')
  })
})
