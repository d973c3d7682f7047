/** §5.3 and §5.4 of the Raft paper, sentence by sentence, under the names that etcd's suite has for them. */
import { describe, expect, it } from 'vitest'
import type { Entry, Message } from '../../../controller/raft/messages.ts'
import { Network, normal, TestNode } from './network.ts'

const voters = [1, 2, 3]

/** A leader in term 1 whose first entry is committed everywhere. */
function settledLeader(ids: readonly number[] = voters): TestNode {
  const node = new TestNode({ voters: ids }).lead()
  for (const id of ids) if (id !== 1) node.acknowledgedBy(id)
  node.flush()
  return node
}

const appendsTo = (messages: readonly Message[], to: number): Message[] =>
  messages.filter((message) => message.type === 'append' && message.to === to)

describe('R-paper §5.3 replication', () => {
  it('LeaderStartReplication: a proposal is appended and sent with what goes before it', () => {
    const node = settledLeader()
    const { lastIndex } = node.status
    node.raw.propose(Buffer.from('some data'))
    const ready = node.raw.ready()
    const entry: Entry = normal(lastIndex + 1, 1, 'some data')
    expect(ready.entries).toEqual([entry])
    expect(ready.messages).toMatchObject(
      [2, 3].map((to) => ({ type: 'append', to, term: 1, index: lastIndex, logTerm: 1, commit: lastIndex, entries: [entry] })),
    )
    expect(node.status.commit).toBe(lastIndex)
  })

  it('LeaderCommitEntry: an entry that a majority has is committed, applied and made known', () => {
    const node = settledLeader()
    const { lastIndex } = node.status
    node.propose('some data')
    const sent = node.acknowledgedBy(2)
    expect(node.status.commit).toBe(lastIndex + 1)
    expect(node.applied.at(-1)).toEqual(normal(lastIndex + 1, 1, 'some data'))
    for (const to of [2, 3]) expect(appendsTo(sent, to).at(-1)?.commit).toBe(lastIndex + 1)
  })

  it('LeaderAcknowledgeCommit: an entry is committed once a majority has it', () => {
    const cases: [size: number, acceptors: number[], isCommitted: boolean][] = [
      [1, [], true],
      [3, [], false],
      [3, [2], true],
      [3, [2, 3], true],
      [5, [], false],
      [5, [2], false],
      [5, [2, 3], true],
      [5, [2, 3, 4], true],
      [5, [2, 3, 4, 5], true],
    ]
    for (const [size, acceptors, isCommitted] of cases) {
      const node = settledLeader(Array.from({ length: size }, (_, at) => at + 1))
      node.propose('some data')
      const { lastIndex } = node.status
      for (const id of acceptors) node.acknowledgedBy(id, lastIndex)
      expect(node.status.commit >= lastIndex, `${size} voters, accepted by ${acceptors.join()}`).toBe(isCommitted)
    }
  })

  it('LeaderCommitPrecedingEntries: with an entry of its term a leader commits all before it', () => {
    for (const terms of [[], [2], [1, 2], [1]]) {
      const node = new TestNode({ voters, terms, hardState: { term: 2 } }).lead()
      node.propose('some data')
      node.acknowledgedBy(2)
      expect(node.applied.map(({ term }) => term)).toEqual([...terms, 3, 3])
    }
  })

  it('FollowerCommitEntry: a follower applies in order what its leader committed', () => {
    const entries = [normal(1, 1, 'some data'), normal(2, 1, 'some data2')]
    for (const commit of [1, 2]) {
      const node = new TestNode({ voters })
      node.step({ type: 'append', from: 2, term: 1, entries, commit })
      expect(node.applied).toEqual(entries.slice(0, commit))
    }
  })

  it('FollowerCheckMsgApp: a follower takes entries only behind one that it has', () => {
    const cases: [logTerm: number, index: number, answer: Partial<Message>][] = [
      [0, 0, { index: 1, reject: false }],
      [1, 1, { index: 1, reject: false }],
      [2, 2, { index: 2, reject: false }],
      [1, 2, { index: 2, reject: true, rejectHint: 1, logTerm: 1 }],
      [3, 3, { index: 3, reject: true, rejectHint: 2, logTerm: 2 }],
    ]
    for (const [logTerm, index, answer] of cases) {
      const node = new TestNode({ voters, terms: [1, 2], hardState: { commit: 1 } })
      const sent = node.step({ type: 'append', from: 2, term: 3, logTerm, index })
      expect(sent, `behind ${index} of term ${logTerm}`).toMatchObject([{ type: 'appendResponse', to: 2, term: 3, ...answer }])
    }
  })

  it('FollowerAppendEntries: what contradicts the leader is replaced, what it lacks is added, and written', () => {
    const cases: [index: number, logTerm: number, entries: Entry[], terms: number[]][] = [
      [2, 2, [normal(3, 3)], [1, 2, 3]],
      [1, 1, [normal(2, 3), normal(3, 4)], [1, 3, 4]],
      [0, 0, [normal(1, 1)], [1, 2]],
      [0, 0, [normal(1, 3)], [3]],
    ]
    for (const [index, logTerm, entries, terms] of cases) {
      const node = new TestNode({ voters, terms: [1, 2] })
      node.step({ type: 'append', from: 2, term: 4, logTerm, index, entries })
      expect(node.terms).toEqual(terms)
    }
  })

  it('LeaderSyncFollowerLog: a leader brings the logs of figure 7 in line with its own', () => {
    const ours = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
    const followers = {
      a: [1, 1, 1, 4, 4, 5, 5, 6, 6],
      b: [1, 1, 1, 4],
      c: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
      d: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
      e: [1, 1, 1, 4, 4, 4, 4],
      f: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    }
    for (const [name, terms] of Object.entries(followers)) {
      const lead = new TestNode({ voters, terms: ours, hardState: { term: 8, commit: ours.length } })
      const follower = new TestNode({ voters, id: 2, terms, hardState: { term: 7 } })
      // The third has no log, and votes: whoever is behind may need it.
      const third = new TestNode({ voters, id: 3 })
      const network = new Network([lead, follower, third])
      network.campaign(1)
      network.propose(1)
      expect(follower.terms, `follower ${name}`).toEqual([...ours, 9, 9])
      expect(third.terms).toEqual(lead.terms)
    }
  })
})

describe('R-paper §5.4 safety', () => {
  it('VoteRequest: a candidate says to all others where its log ends', () => {
    for (const terms of [[1], [1, 2]]) {
      const node = new TestNode({ voters, terms })
      const sent = node.campaign()
      const end = { index: terms.length, logTerm: terms.at(-1), term: (terms.at(-1) as number) + 1 }
      expect(sent).toMatchObject([2, 3].map((to) => ({ type: 'vote', to, ...end })))
    }
  })

  it('Voter: who has the newer log refuses', () => {
    const cases: [terms: number[], logTerm: number, index: number, reject: boolean][] = [
      [[1], 1, 1, false],
      [[1], 1, 2, false],
      [[1, 1], 1, 1, true],
      [[1], 2, 1, false],
      [[1], 2, 2, false],
      [[1, 1], 2, 1, false],
      [[2], 1, 1, true],
      [[2], 1, 2, true],
      [[2, 1], 1, 1, true],
    ]
    for (const [terms, logTerm, index, reject] of cases) {
      const node = new TestNode({ voters, terms })
      expect(node.step({ type: 'vote', from: 2, term: 3, logTerm, index })).toMatchObject([{ type: 'voteResponse', reject }])
    }
  })

  it('LeaderOnlyCommitsLogFromCurrentTerm: entries of earlier terms are not committed by counting', () => {
    for (const [index, commit] of [
      [1, 0],
      [2, 0],
      [3, 3],
    ] as const) {
      const node = new TestNode({ voters, terms: [1, 2], hardState: { term: 2 } }).lead()
      node.acknowledgedBy(2, index)
      expect(node.status.commit).toBe(commit)
    }
  })
})
