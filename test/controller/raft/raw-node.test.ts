/** The face of the core: inputs, `Ready`, `advance`. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import { RaftInvariantError } from '../../../controller/raft/invariant.ts'
import { makeMessage, type Message } from '../../../controller/raft/messages.ts'
import { RawNode, type Ready } from '../../../controller/raft/raw-node.ts'
import { MemoryStorage } from '../../../controller/raft/storage.ts'
import { members, Network, normal, TestNode } from './network.ts'

const nothing = new Uint8Array(0)
const NOTHING_TO_DO: Ready = {
  softState: undefined,
  hardState: undefined,
  entries: [],
  snapshot: undefined,
  committedEntries: [],
  messages: [],
  messagesAfterPersist: [],
  readStates: [],
  mustSync: false,
}

describe('R-core the face of the core', () => {
  it('RawNodeStep: takes no messages that nodes do not send each other, and no answers of strangers', () => {
    const strangers: Partial<Message>[] = [
      { type: 'voteResponse', from: 1, term: 1 },
      { type: 'appendResponse', from: 9, term: 5 },
      { type: 'heartbeatResponse', from: 9, term: 5 },
      { type: 'append', to: 2, term: 5 },
    ]
    for (const fields of strangers) {
      const node = new TestNode({ voters: [1, 2, 3] }).lead()
      const before = node.status
      node.raw.step(makeMessage({ type: 'append', from: 2, to: 1, ...fields }))
      expect(node.flush(), JSON.stringify(fields)).toEqual([])
      expect(node.status).toEqual(before)
    }
    // Nobody else says that its own vote is on the disk.
    const candidate = new TestNode({ voters: [1, 2, 3] })
    candidate.raw.campaign()
    for (const from of [1, 2]) candidate.raw.step(makeMessage({ type: 'voteResponse', from, to: 1, term: 1 }))
    expect(candidate.role).toBe('candidate')
    // One that this node has not heard of may be a new member, and may have become leader.
    const node = new TestNode({ voters: [1, 2, 3] })
    node.step({ type: 'heartbeat', from: 9, term: 5 })
    expect(node.status).toMatchObject({ term: 5, leader: 9 })
  })

  it('RawNodeStart: what is to be written, then what is to be applied', () => {
    const storage = MemoryStorage.withMembers(members([1]))
    const raw = new RawNode({ ...new TestNode({ voters: [1] }).config, storage })
    expect(raw.hasReady()).toBe(false)
    raw.campaign()
    const vote = raw.ready()
    expect(vote).toEqual({
      ...NOTHING_TO_DO,
      softState: { leader: 0, role: 'candidate' },
      hardState: { term: 1, vote: 1, commit: 0 },
      mustSync: true,
    })
    storage.setHardState(vote.hardState as NonNullable<Ready['hardState']>)
    raw.advance()
    raw.propose(Buffer.from('foo'))
    const entries = [{ ...normal(1, 1), data: nothing }, normal(2, 1, 'foo')]
    const write = raw.ready()
    expect(write).toEqual({ ...NOTHING_TO_DO, softState: { leader: 1, role: 'leader' }, entries, mustSync: true })
    storage.append(write.entries)
    raw.advance()
    expect(raw.ready()).toEqual({ ...NOTHING_TO_DO, hardState: { term: 1, vote: 1, commit: 2 }, committedEntries: entries })
    raw.advance()
    expect(raw.hasReady()).toBe(false)
  })

  it('RawNodeRestart: begins with what is committed and was not applied, and writes nothing', () => {
    const node = new TestNode({ voters: [1, 2], terms: [1, 1], hardState: { term: 1, vote: 2, commit: 1 } })
    expect(node.raw.ready()).toEqual({ ...NOTHING_TO_DO, committedEntries: [normal(1, 1)] })
    node.raw.advance()
    expect(node.raw.hasReady()).toBe(false)
    expect(node.status).toMatchObject({ term: 1, vote: 2, commit: 1, applied: 1, lastIndex: 2 })
  })

  it('RawNodeRestartFromSnapshot: begins behind the snapshot', () => {
    const storage = new MemoryStorage()
    storage.applySnapshot({ meta: { index: 2, term: 1, confState: members([1, 2]) }, data: nothing })
    storage.append([normal(3, 1, 'foo')])
    storage.setHardState({ term: 1, vote: 0, commit: 3 })
    const raw = new RawNode({ ...new TestNode({}).config, storage, applied: 2 })
    expect(raw.ready()).toEqual({ ...NOTHING_TO_DO, committedEntries: [normal(3, 1, 'foo')] })
    raw.advance()
    expect(raw.hasReady()).toBe(false)
    expect(raw.status().confState).toEqual(members([1, 2]))
  })

  it('ConsumeReady: what was handed out is not handed out again, what comes meanwhile is', () => {
    const node = new TestNode({ voters: [1, 2] }).lead()
    node.acknowledgedBy(2)
    node.raw.propose(Buffer.from('first'))
    const first = node.raw.ready()
    expect(first.messages).toHaveLength(1)
    node.raw.propose(Buffer.from('second'))
    expect(node.raw.hasReady(), 'one at a time').toBe(false)
    expect(() => node.raw.ready()).toThrow(RaftInvariantError)
    node.storage.append(first.entries)
    node.raw.advance()
    const second = node.raw.ready()
    expect(second.entries.map(({ index }) => index)).toEqual([3])
    expect(second.messages.flatMap(({ entries }) => entries.map(({ index }) => index))).toEqual([3])
    node.raw.advance()
    expect(() => node.raw.advance()).toThrow(RaftInvariantError)
  })

  it('AcceptApplying, UnstableAcceptInProgress: while entries are written and applied nothing of it counts as done', () => {
    const node = new TestNode({ voters: [1] }).lead()
    node.raw.propose(Buffer.from('x'))
    const write = node.raw.ready()
    expect(node.status, 'being written').toMatchObject({ lastIndex: 2, commit: 1 })
    node.storage.append(write.entries)
    node.raw.advance()
    const apply = node.raw.ready()
    expect(apply.committedEntries.map(({ index }) => index)).toEqual([2])
    expect(node.status, 'being applied').toMatchObject({ commit: 2, applied: 1 })
    node.raw.advance()
    expect(node.status.applied).toBe(2)
  })

  it('RawNodeReadIndex: the answer is handed out once', () => {
    const node = new TestNode({ voters: [1] }).lead()
    node.raw.readIndex('somedata')
    const ready = node.raw.ready()
    expect(ready.readStates).toEqual([{ index: 1, context: 'somedata' }])
    node.raw.advance()
    expect(node.raw.hasReady()).toBe(false)
    node.raw.propose(Buffer.from('x'))
    expect(node.raw.ready().readStates).toEqual([])
  })

  it('NodeProposeWaitDropped, BlockProposal: a proposal is taken or refused at once, it does not wait for a leader', () => {
    const follower = new TestNode({ voters: [1, 2] })
    for (let at = 0; at < 2; at++) {
      expect(follower.raw.propose(Buffer.from('x'))).toEqual({ ok: false, reason: 'not-leader' })
      expect(follower.raw.proposeConfChange({ type: 'remove', nodeId: 2, context: nothing })).toEqual({ ok: false, reason: 'not-leader' })
      follower.step({ type: 'heartbeat', from: 2, term: 1 })
    }
    expect(follower.raw.hasReady()).toBe(false)
  })

  it('CommitPagination: what is applied at once is limited, and the rest follows', () => {
    const network = Network.of(3, { maxCommittedBytes: 2048 })
    network.campaign(1)
    const { raw, storage } = network.node(1)
    for (let at = 0; at < 3; at++) raw.propose(Buffer.alloc(1000))
    const pages: number[] = []
    for (const { id } of network.nodes.values()) if (id !== 1) network.node(1).acknowledgedBy(id, 1)
    const write = raw.ready()
    storage.append(write.entries)
    raw.advance()
    raw.step(makeMessage({ type: 'appendResponse', from: 2, to: 1, term: 1, index: 4 }))
    while (raw.hasReady()) {
      pages.push(raw.ready().committedEntries.length)
      raw.advance()
    }
    expect(pages).toEqual([2, 1])
  })
})

describe('R-core changes of the members', () => {
  const change = (type: 'addVoter' | 'addLearner' | 'remove', nodeId: number) => ({ type, nodeId, context: Buffer.from('why') }) as const

  it('RawNodeProposeAndConfChange: a change is an entry with its context, and takes effect when it is applied', () => {
    const node = new TestNode({ voters: [1] }).lead()
    const { raw, storage } = node
    expect(raw.proposeConfChange(change('addVoter', 2))).toEqual({ ok: true, index: 2, term: 1 })
    const write = raw.ready()
    expect(write.entries).toEqual([{ index: 2, term: 1, type: 'confChange', change: change('addVoter', 2) }])
    storage.append(write.entries)
    raw.advance()
    const apply = raw.ready()
    expect(apply.committedEntries).toEqual(write.entries)
    expect(raw.status().confState, 'committed is not applied').toEqual(members([1]))
    expect(raw.applyConfChange(change('addVoter', 2))).toEqual(members([1, 2]))
    raw.advance()
    // From here on node 2 has to agree.
    raw.propose(Buffer.from('x'))
    node.flush()
    expect(node.status).toMatchObject({ commit: 2, lastIndex: 3 })
    node.acknowledgedBy(2, 3)
    expect(node.status.commit).toBe(3)
  })

  it('RawNodeProposeAddDuplicateNode: adding a member again changes nothing, and does not stand in the way of the next change', () => {
    const node = new TestNode({ voters: [1] }).lead()
    for (const nodeId of [1, 1]) {
      expect(node.raw.proposeConfChange(change('addVoter', nodeId)).ok).toBe(true)
      node.flush()
      expect(node.status.confState).toEqual(members([1]))
    }
    expect(node.raw.proposeConfChange(change('addLearner', 2)).ok).toBe(true)
    node.flush()
    expect(node.status.confState).toEqual(members([1], [2]))
    expect(node.applied.filter(({ type }) => type === 'confChange')).toHaveLength(3)
  })
})
