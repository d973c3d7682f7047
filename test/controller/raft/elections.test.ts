/** Elections in clusters: who wins, who disturbs whom. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import { RaftInvariantError } from '../../../controller/raft/invariant.ts'
import { Raft, type Role } from '../../../controller/raft/raft.ts'
import { ELECTION_TICKS, normal, Network, storageWith, TestNode } from './network.ts'

const voters = [1, 2, 3]

for (const preVote of [false, true]) {
  describe(`R-core elections, pre-vote: ${String(preVote)}`, () => {
    it(`${preVote ? 'LeaderElectionPreVote' : 'LeaderElection'}: a majority that can be reached and is not ahead elects`, () => {
      const cases: [logs: (number[] | undefined)[], role: string, term: number][] = [
        [[[], [], []], 'leader', 1],
        [[[], [], undefined], 'leader', 1],
        [[[], undefined, undefined], preVote ? 'preCandidate' : 'candidate', preVote ? 0 : 1],
        [[[], undefined, undefined, []], preVote ? 'preCandidate' : 'candidate', preVote ? 0 : 1],
        [[[], undefined, undefined, [], []], 'leader', 1],
        // Others are ahead: they refuse.
        [[[], [1], [1], [1, 1], []], 'follower', preVote ? 0 : 1],
      ]
      for (const [logs, role, term] of cases) {
        const ids = logs.map((_, at) => at + 1)
        const nodes = ids.flatMap((id, at) => {
          const terms = logs[at]
          return terms === undefined ? [] : [new TestNode({ voters: ids, id, terms, preVote, hardState: { term: 0 } })]
        })
        const network = new Network(nodes)
        network.campaign(1)
        expect(network.node(1).status, JSON.stringify(logs)).toMatchObject({ role, term })
      }
    })

    it(`${preVote ? 'LeaderCyclePreVote' : 'LeaderCycle'}: every node can lead in turn`, () => {
      const network = Network.of(3, { preVote })
      for (const id of voters) {
        network.campaign(id)
        expect(network.leaders).toEqual([id])
      }
    })

    it(`${preVote ? 'LeaderElectionOverwriteNewerLogsPreVote' : 'LeaderElectionOverwriteNewerLogs'}: entries of a higher term that were not committed give way`, () => {
      const ids = [1, 2, 3, 4, 5]
      // Node 3 led term 2 and told nobody; 4 and 5 voted for it and have nothing.
      const network = new Network([
        new TestNode({ voters: ids, id: 1, terms: [1], preVote }),
        new TestNode({ voters: ids, id: 2, terms: [1], preVote }),
        new TestNode({ voters: ids, id: 3, terms: [2], preVote }),
        new TestNode({ voters: ids, id: 4, preVote, hardState: { term: 2, vote: 3 } }),
        new TestNode({ voters: ids, id: 5, preVote, hardState: { term: 2, vote: 3 } }),
      ])
      network.campaign(1)
      // Refused, it learns the term; the next time it wins.
      if (network.leaders.length === 0) network.campaign(1)
      expect(network.leaders).toEqual([1])
      for (const { terms } of network.nodes.values()) expect(terms).toEqual([1, 3])
    })

    it(`${preVote ? 'SingleNodePreCandidate' : 'SingleNodeCandidate'}: a single voter elects itself`, () => {
      const network = Network.of(1, { preVote })
      network.campaign(1)
      expect(network.leaders).toEqual([1])
    })

    it(`${preVote ? 'CandidateSelfVoteAfterLostElectionPreVote' : 'CandidateSelfVoteAfterLostElection'}: its own vote, durable after the election was lost, does not count`, () => {
      const node = new TestNode({ voters: [1, 2, 3, 4, 5], preVote })
      node.raw.campaign()
      node.raw.ready()
      node.raw.step({ ...heartbeat, term: preVote ? 0 : 1 })
      node.raw.advance()
      node.flush()
      expect(node.status).toMatchObject({ role: 'follower', leader: 2 })
      expect(node.step({ type: 'voteResponse', from: 3, term: node.status.term })).toEqual([])
      expect(node.role).toBe('follower')
    })

    it(`${preVote ? 'PreCampaignWhileLeader' : 'CampaignWhileLeader'}: a leader does not ask for votes`, () => {
      const network = Network.of(1, { preVote })
      network.campaign(1)
      const { term } = network.node(1).status
      network.campaign(1)
      expect(network.node(1).status).toMatchObject({ role: 'leader', term })
    })

    it(`${preVote ? 'PreVoteFromAnyState' : 'VoteFromAnyState'}: whoever is not ahead gets the vote in a new term, whatever the voter does`, () => {
      for (const role of ['follower', 'preCandidate', 'candidate', 'leader'] as const) {
        const node = new TestNode({ voters, preVote: role === 'preCandidate', hardState: { term: 1 } })
        if (role === 'leader') node.lead()
        else if (role !== 'follower') node.campaign()
        expect(node.role).toBe(role)
        const before = node.status
        const term = before.term + 1
        const sent = node.step({ type: preVote ? 'preVote' : 'vote', from: 2, term, logTerm: term, index: 42 })
        expect(sent).toMatchObject([{ type: preVote ? 'preVoteResponse' : 'voteResponse', to: 2, term, reject: false }])
        if (preVote) expect(node.status).toMatchObject({ role, term: before.term, vote: before.vote })
        else expect(node.status).toMatchObject({ role: 'follower', term, vote: 2 })
      }
    })

    it(`${preVote ? 'RecvMsgPreVote' : 'RecvMsgVote'}: granted to logs that are not behind, and to nobody else`, () => {
      for (const [index, logTerm, reject] of [
        [0, 0, true],
        [1, 1, true],
        [2, 1, true],
        [3, 1, true],
        [1, 2, true],
        [2, 2, false],
        [3, 2, false],
        [1, 3, false],
      ] as const) {
        const node = new TestNode({ voters, terms: [2, 2], hardState: { term: 3 } })
        const sent = node.step({ type: preVote ? 'preVote' : 'vote', from: 2, term: preVote ? 4 : 3, index, logTerm })
        expect(sent, `${index} of term ${logTerm}`).toMatchObject([{ reject }])
      }
    })
  })
}

const heartbeat = {
  type: 'heartbeat',
  from: 2,
  to: 1,
  logTerm: 0,
  index: 0,
  commit: 0,
  entries: [],
  reject: false,
  rejectHint: 0,
  snapshot: undefined,
  context: '',
} as const

describe('R-core roles', () => {
  it('PastElectionTimeout: the longer nothing is heard, the more of all nodes have timed out', () => {
    for (const [elapsed, share] of [
      [5, 0],
      [9, 0],
      [10, 0.1],
      [13, 0.4],
      [15, 0.6],
      [18, 0.9],
      [20, 1],
    ] as const) {
      const nodes = Array.from({ length: ELECTION_TICKS }, (_, at) => new TestNode({ voters, random: () => (at + 0.5) / ELECTION_TICKS }))
      for (const node of nodes) node.tick(elapsed)
      expect(nodes.filter(({ status }) => status.term > 0).length / nodes.length, `${elapsed} ticks`).toBeCloseTo(share)
    }
  })

  it('StateTransition: a leader asks for no votes, and only a candidate becomes leader', () => {
    const become: Record<Role, (raft: Raft) => void> = {
      follower: (raft) => raft.becomeFollower(raft.term, 0),
      preCandidate: (raft) => raft.becomePreCandidate(),
      candidate: (raft) => raft.becomeCandidate(),
      leader: (raft) => raft.becomeLeader(),
    }
    const steps: Record<Role, readonly Role[]> = {
      follower: [],
      preCandidate: ['preCandidate'],
      candidate: ['candidate'],
      leader: ['candidate', 'leader'],
    }
    const terms: Record<Role, Record<Role, number | undefined>> = {
      follower: { follower: 0, preCandidate: 0, candidate: 1, leader: undefined },
      preCandidate: { follower: 0, preCandidate: 0, candidate: 1, leader: undefined },
      candidate: { follower: 1, preCandidate: 1, candidate: 2, leader: 1 },
      leader: { follower: 1, preCandidate: undefined, candidate: undefined, leader: undefined },
    }
    const roles = Object.keys(become) as Role[]
    for (const from of roles)
      for (const to of roles) {
        const raft = new Raft({ ...new TestNode({ voters }).config, storage: storageWith({ voters }) })
        for (const role of steps[from]) become[role](raft)
        expect(raft.role).toBe(from)
        const term = terms[from][to]
        if (term === undefined) expect(() => become[to](raft), `${from} to ${to}`).toThrow(RaftInvariantError)
        else {
          become[to](raft)
          expect([raft.role, raft.term, raft.leader], `${from} to ${to}`).toEqual([to, term, to === 'leader' ? 1 : 0])
        }
      }
  })
})

describe('R-core candidates', () => {
  it('DuelingCandidates: who is behind does not win, and learns the term', () => {
    const network = Network.of(3)
    network.cut(1, 3)
    network.campaign(1)
    network.campaign(3)
    expect(network.node(1).role).toBe('leader')
    expect(network.node(3).role).toBe('candidate')
    network.heal()
    network.campaign(3)
    expect([1, 2, 3].map((id) => network.node(id).status)).toMatchObject(Array.from({ length: 3 }, () => ({ role: 'follower', term: 2 })))
    expect([1, 2, 3].map((id) => network.node(id).terms)).toEqual([[1], [1], []])
  })

  it('DuelingPreCandidates: who is behind does not disturb the leader', () => {
    const network = Network.of(3, { preVote: true })
    network.cut(1, 3)
    network.campaign(1)
    network.campaign(3)
    expect(network.node(3).role).toBe('follower')
    network.heal()
    network.campaign(3)
    expect(network.leaders).toEqual([1])
    for (const id of voters) expect(network.node(id).status.term).toBe(1)
  })

  it('CandidateConcede: a candidate follows the leader that it hears of, and takes its log', () => {
    const network = Network.of(3)
    network.isolate(1)
    network.campaign(1)
    network.campaign(3)
    network.heal()
    network.tick(3, 1)
    network.propose(3, 'force follower')
    network.tick(3, 1)
    expect(network.node(1).status).toMatchObject({ role: 'follower', term: 1, leader: 3 })
    for (const id of voters)
      expect(network.node(id).applied.map(({ index, term }) => [index, term])).toEqual([
        [1, 1],
        [2, 1],
      ])
  })

  it('OldMessages: an append of a leader of an earlier term is refused', () => {
    const network = Network.of(3)
    for (const id of [1, 2, 1]) network.campaign(id)
    network.node(1).step({ type: 'append', from: 2, term: 2, index: 2, logTerm: 2, entries: [normal(3, 2)] })
    network.propose(1)
    for (const id of voters) expect(network.node(id).terms).toEqual([1, 2, 3, 3])
  })

  it('StepIgnoreOldTermMsg: a message of an earlier term does nothing', () => {
    const node = new TestNode({ voters, hardState: { term: 2 } })
    expect(node.step({ type: 'append', from: 2, term: 1 })).toEqual([])
  })

  it('AllServerStepdown: a higher term makes everyone follow, and only an append names the leader', () => {
    for (const role of ['follower', 'preCandidate', 'candidate', 'leader'] as const)
      for (const type of ['vote', 'append'] as const) {
        const node = new TestNode({ voters, preVote: role === 'preCandidate' })
        if (role === 'leader') node.lead()
        else if (role !== 'follower') node.campaign()
        node.step({ type, from: 2, term: 3, logTerm: type === 'vote' ? 3 : 0 })
        expect(node.status).toMatchObject({ role: 'follower', term: 3, leader: type === 'vote' ? 0 : 2 })
      }
  })

  for (const [name, type] of [
    ['CandidateResetTermMsgHeartbeat', 'heartbeat'],
    ['CandidateResetTermMsgApp', 'append'],
  ] as const)
    it(`${name}: a candidate of a higher term makes the leader begin a newer one, and follows it`, () => {
      const network = Network.of(3)
      network.campaign(1)
      network.isolate(3)
      network.node(3).raw.tick()
      network.node(3).tick(3 * 10)
      expect(network.node(3).role).toBe('candidate')
      const { term } = network.node(3).status
      network.heal()
      // A leader of exactly that term.
      network.node(3).step({ type, from: 1, term })
      expect(network.node(3).status).toMatchObject({ role: 'follower', term, leader: 1 })
    })

  it('CandidateDeliversPreCandidateSelfVoteAfterBecomingCandidate: its own pre-vote, durable late, is no vote', () => {
    const node = new TestNode({ voters: [1, 2, 3, 4, 5], preVote: true })
    node.raw.campaign()
    node.raw.ready()
    for (const from of [2, 3, 4]) node.raw.step({ ...heartbeat, type: 'preVoteResponse', from, term: 1 })
    expect(node.role).toBe('candidate')
    node.raw.advance()
    // Now its pre-vote came; its vote is not durable. With two more there are two.
    for (const from of [2, 3]) node.raw.step({ ...heartbeat, type: 'voteResponse', from, term: 1 })
    expect(node.role).toBe('candidate')
    node.flush()
    expect(node.role).toBe('leader')
  })

  it('CandidateSelfVoteAfterLostElectionPreVote: an answer of the last election is no consent to the next one', () => {
    const node = new TestNode({ voters: [1, 2, 3, 4, 5], preVote: true })
    node.campaign()
    for (const from of [2, 3]) node.step({ type: 'preVoteResponse', from, term: 1 })
    expect(node.status).toMatchObject({ role: 'candidate', term: 1 })
    node.campaign()
    expect(node.status).toMatchObject({ role: 'preCandidate', term: 1 })
    // Votes in term 1, and consent to it, both late.
    for (const type of ['voteResponse', 'preVoteResponse'] as const) for (const from of [4, 5]) node.step({ type, from, term: 1 })
    expect(node.status).toMatchObject({ role: 'preCandidate', term: 1 })
    for (const from of [4, 5]) node.step({ type: 'preVoteResponse', from, term: 2 })
    expect(node.status).toMatchObject({ role: 'candidate', term: 2 })
  })

  it('LeaderMsgAppSelfAckAfterTermChange: its own acknowledgement, durable after its term, does not count', () => {
    const network = Network.of(3)
    network.campaign(1)
    const { raw } = network.node(1)
    raw.propose(Buffer.from('lost'))
    raw.ready()
    raw.step({ ...heartbeat, term: 2 })
    raw.advance()
    network.node(1).flush()
    expect(network.node(1).status).toMatchObject({ role: 'follower', term: 2, commit: 1 })
  })

  it('NodeWithSmallerTermCanCompleteElection: pre-votes of a lower term win once the higher one is gone', () => {
    const network = Network.of(3, { preVote: true })
    network.cut(1, 3)
    network.cut(2, 3)
    network.campaign(1)
    network.campaign(3)
    expect(network.node(3).role).toBe('preCandidate')
    network.campaign(2)
    expect([1, 2, 3].map((id) => network.node(id).status.term)).toEqual([2, 2, 0])
    // Node 2 is gone; 3, of term 0 still, comes back.
    network.heal()
    network.isolate(2)
    network.campaign(3)
    network.campaign(1)
    expect(network.leaders).toContain(1)
    expect(network.node(3).status).toMatchObject({ role: 'follower', leader: 1 })
  })

  it('PreVoteWithSplitVote: after a split vote the next candidate wins', () => {
    const network = Network.of(3, { preVote: true })
    network.campaign(1)
    network.isolate(1)
    const { raw: second } = network.node(2)
    const { raw: third } = network.node(3)
    second.campaign()
    third.campaign()
    network.settle()
    network.campaign(2)
    expect(network.leaders).toContain(2)
    expect(network.node(3).status).toMatchObject({ role: 'follower', leader: 2 })
  })
})
