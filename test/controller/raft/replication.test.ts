/** Replication and flow control. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import type { Message } from '../../../controller/raft/messages.ts'
import { Network, normal, TestNode } from './network.ts'

const voters = [1, 2, 3]
const nothing = new Uint8Array(0)

/** A leader of two whose follower has said nothing yet. */
function leaderOfTwo(options = {}): TestNode {
  return new TestNode({ voters: [1, 2], ...options }).lead()
}

const appends = (messages: readonly Message[]): Message[] => messages.filter(({ type }) => type === 'append')
const peer = (node: TestNode, id = 2): ReturnType<TestNode['raw']['status']>['peers'][number] | undefined =>
  node.status.peers.find((other) => other.id === id)

describe('R-core replication', () => {
  it('LogReplication: everybody applies what was proposed, in order, across leaders', () => {
    const network = Network.of(3)
    network.campaign(1)
    network.propose(1, 'a')
    network.campaign(2)
    network.propose(2, 'b')
    for (const id of voters)
      expect(network.node(id).applied.map((entry) => (entry.type === 'normal' ? Buffer.from(entry.data).toString() : ''))).toEqual([
        '',
        'a',
        '',
        'b',
      ])
  })

  it('SingleNodeCommit: a single voter commits what it has written', () => {
    const network = Network.of(1)
    network.campaign(1)
    network.propose(1)
    expect(network.node(1).status.commit).toBe(2)
  })

  it('a leader does not count itself before its write is done', () => {
    const node = new TestNode({ voters: [1] }).lead()
    node.raw.propose(Buffer.from('x'))
    const { entries } = node.raw.ready()
    expect(node.status.commit).toBe(1)
    node.storage.append(entries)
    node.raw.advance()
    expect(node.status.commit).toBe(2)
  })

  it('CannotCommitWithoutNewTermEntry, CommitWithoutNewTermEntry: entries of an earlier term are committed with the first of the new one', () => {
    const network = Network.of(5)
    network.campaign(1)
    for (const id of [3, 4, 5]) network.cut(1, id)
    network.propose(1)
    network.propose(1)
    expect(network.node(1).status.commit).toBe(1)
    network.heal()
    network.ignore('append')
    network.campaign(2)
    expect(network.node(2).status.commit).toBe(1)
    network.heal()
    network.tick(2, 1)
    expect(network.node(2).status.commit).toBe(4)
  })

  it('ProposalByProxy: a follower refuses proposals, it does not pass them on', () => {
    const network = Network.of(3)
    network.campaign(1)
    expect(network.node(2).raw.propose(Buffer.from('x'))).toEqual({ ok: false, reason: 'not-leader' })
    expect(network.node(2).flush()).toEqual([])
  })

  it('HandleHeartbeat: commits what the leader says, and never less', () => {
    for (const [commit, expected] of [
      [3, 3],
      [1, 2],
    ] as const) {
      const node = new TestNode({ voters, terms: [1, 2, 3], hardState: { term: 3, commit: 2 } })
      const sent = node.step({ type: 'heartbeat', from: 2, term: 3, commit })
      expect(node.status.commit).toBe(expected)
      expect(sent).toMatchObject([{ type: 'heartbeatResponse', to: 2 }])
    }
  })

  it('BcastBeat: a heartbeat commits no more than the follower is known to have', () => {
    const node = new TestNode({ voters, terms: [1, 1, 1] }).lead()
    node.acknowledgedBy(2)
    expect(node.tick(1).map(({ to, commit }) => [to, commit])).toEqual([
      [2, node.status.commit],
      [3, 0],
    ])
  })

  it('FastLogRejection: a refusal costs one round for each term that differs, not for each entry', () => {
    const pairs: [leader: number[], follower: number[]][] = [
      [
        [1, 3, 3, 3, 5, 5, 5],
        [1, 1, 1, 1, 2, 2, 2],
      ],
      [
        [1, 2, 2, 4, 4, 4],
        [1, 1, 1, 2, 2, 2, 3, 3, 3],
      ],
      [[1, 1, 1, 1, 1, 7], [1]],
      [
        [1, 4, 4, 4, 4, 4],
        [1, 3, 3, 3, 3, 3, 3, 3, 3, 3],
      ],
      [
        [2, 5],
        [2, 4, 4, 4, 4, 4, 4, 4],
      ],
    ]
    for (const [ours, theirs] of pairs) {
      const network = new Network([
        new TestNode({ voters, terms: ours, hardState: { term: 9 } }),
        new TestNode({ voters, id: 2, terms: theirs, hardState: { term: 9 } }),
        new TestNode({ voters, id: 3, hardState: { term: 9 } }),
      ])
      network.campaign(1)
      network.tick(1, 1)
      expect(network.node(2).terms).toEqual([...ours, 10])
      const refusals = network.seen.filter(({ type, from, reject }) => type === 'appendResponse' && from === 2 && reject)
      expect(refusals.length, `${ours.join('')} over ${theirs.join('')}`).toBeLessThanOrEqual(2)
    }
  })

  it('LogReplicationWithReorderedMessage: a late refusal does not move next below match', () => {
    const node = leaderOfTwo({ terms: [1, 1] })
    node.acknowledgedBy(2, 2)
    node.step({ type: 'appendResponse', from: 2, term: 2, index: 2, reject: true, rejectHint: 0 })
    expect(peer(node)?.match).toBe(2)
    expect(peer(node)?.next).toBeGreaterThan(2)
  })
})

describe('R-core flow control', () => {
  it('ProgressPaused, SendAppendForProgressProbe: one append until it is answered, another after a heartbeat', () => {
    const node = leaderOfTwo()
    expect(peer(node)).toMatchObject({ state: 'probe', isPaused: true })
    for (let at = 0; at < 3; at++) expect(appends(node.propose('x'))).toEqual([])
    expect(appends(node.step({ type: 'heartbeatResponse', from: 2, term: 1 }))).toHaveLength(1)
    expect(peer(node)?.isPaused).toBe(true)
  })

  it('SendAppendForProgressReplicate, MsgAppFlowControlFull: a stream of appends until the window is full, each answer lets another pass', () => {
    const node = leaderOfTwo({ maxInflightMessages: 3 })
    node.acknowledgedBy(2)
    for (let at = 0; at < 3; at++) expect(appends(node.propose('x'))).toHaveLength(1)
    expect(peer(node)).toMatchObject({ state: 'replicate', isPaused: true })
    expect(appends(node.propose('x'))).toEqual([])
    const sent = appends(node.acknowledgedBy(2, 2)).filter(({ entries }) => entries.length > 0)
    expect(sent.flatMap(({ entries }) => entries.map(({ index }) => index))).toEqual([5])
    expect(peer(node)?.isPaused).toBe(true)
  })

  it('MsgAppFlowControlRecvHeartbeat: a full window opens by one append with each heartbeat that is answered', () => {
    const node = leaderOfTwo({ maxInflightMessages: 2 })
    node.acknowledgedBy(2)
    for (let at = 0; at < 6; at++) node.propose('x')
    for (let at = 0; at < 2; at++) {
      node.propose('x')
      expect(appends(node.step({ type: 'heartbeatResponse', from: 2, term: 1 }))).toHaveLength(1)
      expect(peer(node)?.isPaused).toBe(true)
    }
  })

  it('ProgressFlowControl: appends are limited in bytes, and so is the window', () => {
    const node = leaderOfTwo({ maxMessageBytes: 100, maxInflightBytes: 150 })
    node.raw.propose(Buffer.alloc(60))
    node.raw.propose(Buffer.alloc(60))
    node.raw.propose(Buffer.alloc(60))
    node.flush()
    const sent = appends(node.acknowledgedBy(2, 1)).filter(({ entries }) => entries.length > 0)
    expect(sent.map(({ entries }) => entries.length)).toEqual([1, 1])
    expect(peer(node)?.isPaused).toBe(true)
  })

  it('UncommittedEntryLimit, BoundedLogGrowthWithPartition: proposals are refused until something is applied', () => {
    const node = leaderOfTwo({ maxUncommittedBytes: 100 })
    node.acknowledgedBy(2)
    for (let at = 0; at < 10; at++) expect(node.raw.propose(Buffer.alloc(10)).ok).toBe(true)
    expect(node.raw.propose(Buffer.alloc(10))).toEqual({ ok: false, reason: 'too-much-uncommitted' })
    node.flush()
    node.acknowledgedBy(2)
    expect(node.raw.propose(Buffer.alloc(500)).ok, 'one alone may be larger').toBe(true)
    expect(node.raw.propose(Buffer.alloc(1)).ok).toBe(false)
    expect(node.raw.propose(nothing).ok).toBe(true)
  })

  it('RecvMsgUnreachable: goes back to probing behind what is known', () => {
    const node = leaderOfTwo()
    node.acknowledgedBy(2)
    node.propose('x')
    node.raw.reportUnreachable(2)
    expect(peer(node)).toMatchObject({ state: 'probe', match: 1, next: 2 })
  })

  it('CommitPaginationAfterRestart: what is applied in pages leaves nothing out', () => {
    const terms = Array.from({ length: 20 }, () => 1)
    const node = new TestNode({ voters: [1, 2], terms, hardState: { term: 1, commit: 20 }, maxCommittedBytes: 40 })
    node.step({ type: 'append', from: 2, term: 1, index: 20, logTerm: 1, commit: 22, entries: [normal(21, 1, 'x'), normal(22, 1, 'y')] })
    expect(node.applied.map(({ index }) => index)).toEqual(Array.from({ length: 22 }, (_, at) => at + 1))
  })
})
