/** §5.1 and §5.2 of the Raft paper, sentence by sentence, under the names that etcd's suite has for them. */
import { describe, expect, it } from 'vitest'
import { ELECTION_TICKS, normal, TestNode } from './network.ts'
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

describe('R-paper §5.1 terms', () => {
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

describe('R-paper §5.2 elections', () => {
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

  it('FollowerVote: a node that has voted gives the candidate the time of an election', () => {
    const node = new TestNode({ voters })
    node.tick(ELECTION_TICKS - 1)
    node.step({ type: 'vote', from: 2, term: 1 })
    expect(node.tick(ELECTION_TICKS - 1)).toEqual([])
    expect(node.tick(1).map(({ type }) => type)).toEqual(['vote', 'vote'])
  })

  it('FollowerStartElection: a node that hears its leader asks for no votes', () => {
    const node = nodeIn('follower')
    for (const type of ['heartbeat', 'append', 'heartbeat'] as const) {
      node.tick(ELECTION_TICKS - 1)
      node.step({ type, from: 2, term: 1 })
      expect(node.status).toMatchObject({ role: 'follower', term: 1 })
    }
    node.tick(ELECTION_TICKS)
    expect(node.role).toBe('candidate')
  })

  it('LeaderElectionInOneRoundRPC: of two answers of one node the first counts', () => {
    const node = new TestNode({ voters })
    node.campaign()
    for (const reject of [true, false]) node.step({ type: 'voteResponse', from: 2, term: 1, reject })
    expect(node.role).toBe('candidate')
    node.step({ type: 'voteResponse', from: 3, term: 1 })
    expect(node.role).toBe('leader')
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
