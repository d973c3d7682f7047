/** One test for each sentence of the Raft paper, under the name that etcd's suite has for it. */
import { describe, expect, it } from 'vitest'
import type { Entry, Message } from '../../../controller/raft/messages.ts'
import { ELECTION_TICKS, Network, normal, TestNode } from './network.ts'
import { testRandom } from './random.ts'

const voters = [1, 2, 3]

/** A node in `role`, in term 1. */
function nodeIn(role: 'follower' | 'candidate' | 'leader'): TestNode {
  const node = new TestNode({ voters })
  if (role === 'follower') node.step({ type: 'heartbeat', from: 2, term: 1 })
  if (role === 'candidate') node.campaign()
  if (role === 'leader') node.lead()
  expect(node.role).toBe(role)
  return node
}

/** A leader in term 1 whose first entry is committed everywhere. */
function settledLeader(ids: readonly number[] = voters): TestNode {
  const node = new TestNode({ voters: ids }).lead()
  for (const id of ids) if (id !== 1) node.acknowledgedBy(id)
  node.flush()
  return node
}

const appendsTo = (messages: readonly Message[], to: number): Message[] =>
  messages.filter((message) => message.type === 'append' && message.to === to)

describe('§5.1 terms', () => {
  for (const [name, role] of [
    ['FollowerUpdateTermFromMessage', 'follower'],
    ['CandidateUpdateTermFromMessage', 'candidate'],
    ['LeaderUpdateTermFromMessage', 'leader'],
  ] as const)
    it(`${name}: a ${role} adopts a higher term and follows`, () => {
      const node = nodeIn(role)
      node.step({ type: 'append', from: 2, term: 2 })
      expect(node.status).toMatchObject({ term: 2, role: 'follower', leader: 2 })
    })

  it('RejectStaleTermMessage: a message of a lower term changes nothing', () => {
    const node = new TestNode({ voters, hardState: { term: 2 } })
    const before = node.status
    expect(node.step({ type: 'append', from: 2, term: 1, entries: [normal(1, 1)] })).toEqual([])
    expect(node.status).toEqual(before)
  })
})

describe('§5.2 elections', () => {
  it('StartAsFollower: a node begins as a follower', () => {
    expect(new TestNode({ voters }).status).toMatchObject({ role: 'follower', term: 0, leader: 0 })
  })

  it('LeaderBcastBeat: a leader sends every other node an empty heartbeat when it is time', () => {
    const node = settledLeader()
    const beats = node.tick(1)
    expect(beats.map(({ type, to, term, entries }) => ({ type, to, term, entries: entries.length }))).toEqual([
      { type: 'heartbeat', to: 2, term: 1, entries: 0 },
      { type: 'heartbeat', to: 3, term: 1, entries: 0 },
    ])
  })

  for (const [name, role, term] of [
    ['FollowerStartElection', 'follower', 2],
    ['CandidateStartNewElection', 'candidate', 2],
  ] as const)
    it(`${name}: a ${role} that hears nothing begins the next term, votes for itself and asks all others`, () => {
      const node = nodeIn(role)
      const sent = node.tick(2 * ELECTION_TICKS - 1)
      expect(node.status).toMatchObject({ term, role: 'candidate', vote: 1 })
      expect(sent.map(({ type, to, term: of }) => [type, to, of])).toEqual([
        ['vote', 2, term],
        ['vote', 3, term],
      ])
    })

  it('LeaderElectionInOneRoundRPC: a majority of votes makes a leader, a majority of refusals a follower, anything else leaves it open', () => {
    const cases: [size: number, granted: number[], refused: number[], role: string][] = [
      [1, [], [], 'leader'],
      [3, [2, 3], [], 'leader'],
      [3, [2], [], 'leader'],
      [5, [2, 3, 4, 5], [], 'leader'],
      [5, [2, 3, 4], [], 'leader'],
      [5, [2, 3], [], 'leader'],
      [3, [], [2, 3], 'follower'],
      [5, [], [2, 3, 4, 5], 'follower'],
      [5, [2], [3, 4, 5], 'follower'],
      [3, [], [], 'candidate'],
      [5, [2], [], 'candidate'],
      [5, [], [2, 3], 'candidate'],
      [5, [], [], 'candidate'],
    ]
    for (const [size, granted, refused, role] of cases) {
      const node = new TestNode({ voters: Array.from({ length: size }, (_, at) => at + 1) })
      node.campaign()
      for (const from of granted) node.step({ type: 'voteResponse', from, term: 1 })
      for (const from of refused) node.step({ type: 'voteResponse', from, term: 1, reject: true })
      expect(node.role, `${size} voters, ${granted.join()} for, ${refused.join()} against`).toBe(role)
      expect(node.status.term).toBe(1)
    }
  })

  it('FollowerVote: a node votes once in a term, for the first that asks', () => {
    const cases: [vote: number, from: number, isRefused: boolean][] = [
      [0, 2, false],
      [0, 3, false],
      [2, 2, false],
      [3, 3, false],
      [2, 3, true],
      [3, 2, true],
    ]
    for (const [vote, from, reject] of cases) {
      const node = new TestNode({ voters, hardState: { term: 1, vote } })
      const sent = node.step({ type: 'vote', from, term: 1 })
      expect(sent, `voted for ${vote}, asked by ${from}`).toMatchObject([{ type: 'voteResponse', to: from, term: 1, reject }])
    }
  })

  it('CandidateFallback: a candidate follows whoever appends in its term or a higher one', () => {
    for (const term of [1, 2]) {
      const node = nodeIn('candidate')
      node.step({ type: 'append', from: 3, term })
      expect(node.status).toMatchObject({ role: 'follower', term, leader: 3 })
    }
  })

  for (const [name, role] of [
    ['FollowerElectionTimeoutRandomized', 'follower'],
    ['CandidateElectionTimeoutRandomized', 'candidate'],
  ] as const)
    it(`${name}: every timeout from one to two election timeouts occurs`, () => {
      const seen = new Set<number>()
      const random = testRandom(1)
      for (let round = 0; round < 50 * ELECTION_TICKS; round++) {
        const node = new TestNode({ voters, random })
        if (role === 'candidate') node.campaign()
        else node.step({ type: 'heartbeat', from: 2, term: 1 })
        const { term } = node.status
        let ticks = 0
        for (; node.status.term === term; ticks++) node.tick(1)
        seen.add(ticks)
      }
      expect([...seen].sort((a, b) => a - b)).toEqual(Array.from({ length: ELECTION_TICKS }, (_, at) => ELECTION_TICKS + at))
    })

  for (const [name, role] of [
    ['FollowersElectionTimeoutNonconflict', 'follower'],
    ['CandidatesElectionTimeoutNonconflict', 'candidate'],
  ] as const)
    it(`${name}: it is rare that two of five time out at once`, () => {
      const random = testRandom(2)
      const ids = [1, 2, 3, 4, 5]
      let conflicts = 0
      const rounds = 500
      for (let round = 0; round < rounds; round++) {
        const nodes = ids.map((id) => new TestNode({ voters: ids, id, random }))
        if (role === 'candidate') for (const node of nodes) node.campaign()
        const { term } = (nodes[0] as TestNode).status
        let timedOut = 0
        while (timedOut === 0) {
          for (const node of nodes) node.tick(1)
          timedOut = nodes.filter(({ status }) => status.term > term).length
        }
        if (timedOut > 1) conflicts++
      }
      // Ten slots for five nodes: the earliest is shared in about a third of the rounds at the most.
      expect(conflicts / rounds).toBeLessThan(0.4)
    })
})

describe('§5.3 replication', () => {
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
      const node = nodeIn('follower')
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

describe('§5.4 safety', () => {
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
