/** What a follower makes of an append, and a leader of the answer. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import { maybeCommit } from '../../../controller/raft/leader.ts'
import type { Entry, Message } from '../../../controller/raft/messages.ts'
import { Raft } from '../../../controller/raft/raft.ts'
import { ReadRequests } from '../../../controller/raft/read-index.ts'
import { Network, normal, storageWith, TestNode } from './network.ts'

const voters = [1, 2, 3]

const appendsTo = (to: number, messages: readonly Message[]): Message[] =>
  messages.filter((message) => message.type === 'append' && message.to === to)

const peer = (node: TestNode, id = 2) => node.status.peers.find((other) => other.id === id)

describe('R-core what is committed', () => {
  it('Commit: what a majority has, if it is of the present term', () => {
    const cases: [matches: number[], terms: number[], term: number, committed: number][] = [
      [[1], [1], 1, 1],
      [[1], [1], 2, 0],
      [[2], [1, 2], 2, 2],
      [[1], [2], 2, 1],
      [[2, 1, 1], [1, 2], 1, 1],
      [[2, 1, 1], [1, 1], 2, 0],
      [[2, 1, 2], [1, 2], 2, 2],
      [[2, 1, 2], [1, 1], 2, 0],
      [[2, 1, 1, 1], [1, 2], 1, 1],
      [[2, 1, 1, 1], [1, 1], 2, 0],
      [[2, 1, 1, 2], [1, 2], 1, 1],
      [[2, 1, 1, 2], [1, 1], 2, 0],
      [[2, 1, 2, 2], [1, 2], 2, 2],
      [[2, 1, 2, 2], [1, 1], 2, 0],
    ]
    for (const [matches, terms, term, committed] of cases) {
      const ids = matches.map((_, at) => at + 1)
      const { config } = new TestNode({ voters: ids })
      const raft = new Raft({ ...config, storage: storageWith({ voters: ids, terms, hardState: { term } }) })
      for (const [at, match] of matches.entries()) raft.progressOf(at + 1).match = match
      maybeCommit(raft)
      expect(raft.log.committed, `${matches.join()} of terms ${terms.join()} in term ${term}`).toBe(committed)
    }
  })

  it('Proposal: is committed where a majority can be reached, and nowhere else', () => {
    for (const [cut, isCommitted] of [
      [[], true],
      [[3], true],
      [[2, 3], false],
      [[4, 5], true],
      [[2, 3, 4], false],
    ] as const) {
      const network = Network.of(cut.some((id) => id > 3) ? 5 : 3)
      network.campaign(1)
      for (const id of cut) network.isolate(id)
      network.propose(1, 'somedata')
      const { commit, lastIndex } = network.node(1).status
      expect(commit === lastIndex, `without ${cut.join()}`).toBe(isCommitted)
      for (const { id, applied } of network.nodes.values())
        if (isCommitted && !(cut as readonly number[]).includes(id)) expect(applied).toEqual(network.node(1).applied)
    }
  })
})

describe('R-core a follower', () => {
  it('HandleMsgApp: takes entries behind one it has, replaces what differs, commits what it now knows to be the same', () => {
    const cases: [fields: Partial<Message>, last: number, commit: number, isRefused: boolean][] = [
      [{ logTerm: 3, index: 2, commit: 3 }, 2, 0, true],
      [{ logTerm: 3, index: 3, commit: 3 }, 2, 0, true],
      [{ logTerm: 1, index: 1, commit: 1 }, 2, 1, false],
      [{ logTerm: 0, index: 0, commit: 1, entries: [normal(1, 2)] }, 1, 1, false],
      [{ logTerm: 2, index: 2, commit: 3, entries: [normal(3, 2), normal(4, 2)] }, 4, 3, false],
      [{ logTerm: 2, index: 2, commit: 4, entries: [normal(3, 2)] }, 3, 3, false],
      [{ logTerm: 1, index: 1, commit: 4, entries: [normal(2, 2)] }, 2, 2, false],
      // It commits no more than what the message is about: beyond it, the logs may differ.
      [{ logTerm: 1, index: 1, commit: 3 }, 2, 1, false],
      [{ logTerm: 1, index: 1, commit: 3, entries: [normal(2, 2)] }, 2, 2, false],
      [{ logTerm: 2, index: 2, commit: 3 }, 2, 2, false],
      [{ logTerm: 2, index: 2, commit: 4 }, 2, 2, false],
    ]
    for (const [fields, last, commit, reject] of cases) {
      const node = new TestNode({ voters, terms: [1, 2], hardState: { term: 2 } })
      const sent = node.step({ type: 'append', from: 2, term: 2, ...fields })
      const what = JSON.stringify(fields)
      expect(node.status, what).toMatchObject({ lastIndex: last, commit })
      expect(sent, what).toMatchObject([{ type: 'appendResponse', reject }])
    }
  })

  it('RecvMsgBeat: time makes nobody but the leader send heartbeats', () => {
    const beatsOf = (node: TestNode): number => node.tick(1).filter(({ type }) => type === 'heartbeat').length
    const candidate = new TestNode({ voters })
    candidate.campaign()
    expect(candidate.role).toBe('candidate')
    expect([beatsOf(new TestNode({ voters }).lead()), beatsOf(candidate), beatsOf(new TestNode({ voters }))]).toEqual([2, 0, 0])
  })
})

describe('R-core a leader', () => {
  it('HandleHeartbeatResp: sends what is missing with each answer to a heartbeat, until it is there', () => {
    const node = new TestNode({ voters: [1, 2], terms: [1, 1, 1] }).lead()
    const answer = { type: 'heartbeatResponse', from: 2, term: 2 } as const
    for (let at = 0; at < 2; at++) expect(appendsTo(2, node.step(answer))).toHaveLength(1)
    node.acknowledgedBy(2)
    expect(node.step(answer)).toEqual([])
  })

  it('MsgAppRespWaitReset: who has not answered yet waits, others get on; the answer resumes it', () => {
    const node = new TestNode({ voters }).lead()
    node.acknowledgedBy(2, 1)
    expect(node.status.commit).toBe(1)
    const proposed = node.propose('x')
    expect(appendsTo(2, proposed).map(({ entries }) => entries.map(({ index }) => index))).toEqual([[2]])
    expect(appendsTo(3, proposed), 'its first append is not answered').toEqual([])
    const resumed = appendsTo(3, node.acknowledgedBy(3, 1))
    expect(resumed.flatMap(({ entries }) => entries.map(({ index }) => index))).toEqual([2])
  })

  it('LeaderAppResp: an old refusal is ignored, the one of the probe is followed up, an acknowledgement commits', () => {
    const cases: [index: number, reject: boolean, hint: number, match: number, next: number, commit: number, appends: number[]][] = [
      // Not of the probe that is on its way, which is behind entry 2.
      [1, true, 0, 0, 3, 0, []],
      [2, true, 1, 0, 2, 0, [1]],
      [2, true, 0, 0, 1, 0, [0]],
      [3, false, 0, 3, 4, 3, [3]],
      // Of what the leader has not: no more than it has.
      [9, false, 0, 3, 4, 3, [3]],
    ]
    for (const [index, reject, rejectHint, match, next, commit, appends] of cases) {
      const node = new TestNode({ voters, terms: [1, 1] }).lead()
      expect(peer(node)).toMatchObject({ match: 0, next: 3 })
      const sent = node.step({ type: 'appendResponse', from: 2, term: 2, index, reject, rejectHint })
      const what = `${reject ? 'refused' : 'accepted'} ${index}, hint ${rejectHint}`
      expect(peer(node), what).toMatchObject({ match, next })
      expect(node.status.commit, what).toBe(commit)
      expect([...new Set(appendsTo(2, sent).map((message) => message.index))], what).toEqual(appends)
    }
  })

  it('LeaderIncreaseNext: what is sent to a follower that keeps up counts as taken, a probe does not', () => {
    const replicating = new TestNode({ voters: [1, 2], terms: [1, 1, 1] }).lead()
    replicating.acknowledgedBy(2)
    expect(peer(replicating)?.next).toBe(5)
    replicating.propose('x')
    expect(peer(replicating)).toMatchObject({ match: 4, next: 6 })
    const probing = new TestNode({ voters: [1, 2], terms: [1, 1, 1] }).lead()
    probing.propose('x')
    expect(peer(probing)).toMatchObject({ match: 0, next: 4 })
  })

  it('ProgressLeader: it counts itself for what it has written', () => {
    const node = new TestNode({ voters: [1, 2] }).lead()
    for (let at = 0; at < 5; at++) {
      const { lastIndex } = node.status
      expect(peer(node, 1)).toMatchObject({ match: lastIndex, state: 'replicate' })
      node.raw.propose(Buffer.from('x'))
      expect(peer(node, 1), 'not written yet').toMatchObject({ match: lastIndex })
      node.flush()
    }
    expect(peer(node, 1)?.match).toBe(6)
  })

  it('ProgressResumeByHeartbeatResp: the answer to a heartbeat resumes a probe, the heartbeat does not', () => {
    const node = new TestNode({ voters: [1, 2] }).lead()
    expect(peer(node)).toMatchObject({ state: 'probe', isPaused: true })
    node.tick(1)
    expect(peer(node)?.isPaused).toBe(true)
    node.step({ type: 'heartbeatResponse', from: 2, term: 1 })
    // The probe that went out for it is on its way now.
    expect(peer(node)).toMatchObject({ state: 'probe', isPaused: true })
    node.acknowledgedBy(2)
    expect(peer(node)).toMatchObject({ state: 'replicate', isPaused: false })
  })

  it('MsgAppFlowControlMoveForward: an acknowledgement frees all that went out before it, an old one nothing', () => {
    const node = new TestNode({ voters: [1, 2], maxInflightMessages: 4 }).lead()
    node.acknowledgedBy(2, 1)
    for (let at = 0; at < 4; at++) node.propose('x')
    expect(peer(node)).toMatchObject({ next: 6, isPaused: true })
    node.acknowledgedBy(2, 3)
    for (const index of [6, 7])
      expect(appendsTo(2, node.propose('x')).flatMap(({ entries }) => entries.map((entry) => entry.index))).toEqual([index])
    expect(peer(node)?.isPaused).toBe(true)
    expect(appendsTo(2, node.propose('x'))).toEqual([])
    expect(node.acknowledgedBy(2, 2), 'older than what is known').toEqual([])
    expect(peer(node)?.isPaused).toBe(true)
    const moved = appendsTo(2, node.acknowledgedBy(2, 4))
    expect(moved.flatMap(({ entries }) => entries.map(({ index }) => index))).toEqual([8])
    expect(peer(node)?.isPaused).toBe(true)
  })

  it('RaftFreesReadOnlyMem: a read that was answered, and all before it, is forgotten', () => {
    const reads = new ReadRequests()
    for (const context of ['a', 'b', 'c']) reads.add({ from: 1, context, index: 1 }, 1)
    const round = reads.lastRound
    reads.add({ from: 1, context: 'd', index: 1 }, 1)
    expect(reads.acknowledge(2, round, voters).map(({ context }) => context)).toEqual(['a', 'b', 'c'])
    expect(reads.count).toBe(1)
    expect(reads.acknowledge(3, round, voters), 'once more').toEqual([])
    reads.reset()
    expect(reads.count).toBe(0)
  })
})

describe('R-core what a follower lacks', () => {
  it('LogReplication: goes out in one append as far as the limit allows, and in order', () => {
    const terms = Array.from({ length: 20 }, () => 1)
    const node = new TestNode({ voters: [1, 2], terms, maxMessageBytes: 5 * 16 }).lead()
    const sent = appendsTo(2, node.step({ type: 'appendResponse', from: 2, term: 2, index: 20, reject: true, rejectHint: 0 }))
    expect(sent.flatMap(({ entries }) => entries.map(({ index }: Entry) => index))).toEqual([1, 2, 3, 4, 5])
    const more = appendsTo(2, node.acknowledgedBy(2, 5))
    expect(more.flatMap(({ entries }) => entries.map(({ index }: Entry) => index))).toEqual(Array.from({ length: 16 }, (_, at) => at + 6))
    expect(Math.max(...more.map(({ entries }) => entries.length))).toBe(5)
  })
})
