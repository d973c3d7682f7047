/** A leader that no majority hears steps down; nobody deposes one that is heard. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import { RawNode } from '../../../controller/raft/raw-node.ts'
import { ELECTION_TICKS, Network, TestNode } from './network.ts'

const voters = [1, 2, 3]

/** Lets the followers forget when they heard the leader last. */
function wait(node: TestNode): void {
  for (let at = 0; at < ELECTION_TICKS; at++) node.raw.tick()
}

describe('R-core check-quorum', () => {
  it('LeaderStepdownWhenQuorumActive: a leader that is answered goes on', () => {
    const node = new TestNode({ voters, checkQuorum: true }).lead()
    for (let at = 0; at <= ELECTION_TICKS; at++) {
      node.step({ type: 'heartbeatResponse', from: 2, term: 1 })
      node.tick(1)
    }
    expect(node.role).toBe('leader')
  })

  it('LeaderStepdownWhenQuorumLost: a leader that nobody answers steps down', () => {
    const node = new TestNode({ voters, checkQuorum: true }).lead()
    node.tick(2 * ELECTION_TICKS)
    expect(node.role).not.toBe('leader')
  })

  it('LeaderSupersedingWithCheckQuorum: votes are refused while a leader is heard, and given afterwards', () => {
    const network = Network.of(3, { checkQuorum: true, random: () => 0.5 })
    network.campaign(1)
    network.campaign(3)
    expect(network.node(3).role).toBe('candidate')
    wait(network.node(2))
    network.campaign(3)
    expect(network.node(3).role).toBe('leader')
  })

  it('LeaderElectionWithCheckQuorum: a cluster elects, and elects again', () => {
    const network = Network.of(3, { checkQuorum: true, random: () => 0.5 })
    network.campaign(1)
    expect(network.leaders).toEqual([1])
    wait(network.node(2))
    network.campaign(3)
    expect(network.node(3).role).toBe('leader')
  })

  it('FreeStuckCandidateWithCheckQuorum: a candidate with a higher term gets back in', () => {
    const network = Network.of(3, { checkQuorum: true, random: () => 0.5 })
    network.campaign(1)
    network.isolate(1)
    network.campaign(3)
    network.campaign(3)
    expect(network.node(2).role).toBe('follower')
    expect(network.node(3).role).toBe('candidate')
    network.heal()
    network.tick(1, 1)
    // Its answer deposed the leader.
    expect(network.node(1).status).toMatchObject({ role: 'follower', term: network.node(3).status.term })
    wait(network.node(2))
    network.campaign(3)
    expect(network.node(3).role).toBe('leader')
  })

  it('NonPromotableVoterWithCheckQuorum: a node that does not know that it votes follows', () => {
    const network = new Network([
      new TestNode({ voters: [1, 2], id: 1, checkQuorum: true }),
      new TestNode({ voters: [1], id: 2, checkQuorum: true }),
    ])
    network.campaign(1)
    expect(network.node(1).role).toBe('leader')
    expect(network.node(2).status).toMatchObject({ role: 'follower', leader: 1 })
  })

  it('AddNodeCheckQuorum: a node just added has the time of one check to answer', () => {
    const node = new TestNode({ voters: [1], checkQuorum: true }).lead()
    node.tick(ELECTION_TICKS - 1)
    node.raw.proposeConfChange({ type: 'addVoter', nodeId: 2, context: new Uint8Array(0) })
    node.flush()
    node.tick(1)
    expect(node.role).toBe('leader')
    node.tick(ELECTION_TICKS)
    expect(node.role).not.toBe('leader')
  })

  it('DisruptiveFollower: without pre-vote, a follower that timed out makes the leader step down', () => {
    const network = Network.of(3, { checkQuorum: true })
    network.campaign(1)
    network.isolate(3)
    network.node(3).campaign()
    network.heal()
    network.tick(1, 1)
    expect(network.node(1).status).toMatchObject({ role: 'follower', term: 2 })
    expect(network.node(3).role).toBe('candidate')
  })

  it('DisruptiveFollowerPreVote: with pre-vote, it does not', () => {
    const network = Network.of(3, { checkQuorum: true, preVote: true })
    network.campaign(1)
    network.isolate(3)
    for (let at = 0; at < 3; at++) network.propose(1)
    network.node(3).campaign()
    network.heal()
    network.tick(1, 1)
    expect(network.leaders).toEqual([1])
    expect(network.node(1).status.term).toBe(1)
    expect(network.node(3).terms).toHaveLength(4)
  })

  it('PreVoteWithCheckQuorum: when the leader is gone, of two that ask one wins, though both heard it lately', () => {
    const network = Network.of(3, { checkQuorum: true, preVote: true })
    network.campaign(1)
    network.isolate(1)
    network.campaign(2)
    expect(network.node(2).role, 'node 3 still waits for the leader').toBe('preCandidate')
    network.campaign(3)
    expect(network.leaders.filter((id) => id !== 1)).toEqual([3])
    expect(network.node(2).status).toMatchObject({ role: 'follower', leader: 3 })
  })
})

/** Node 3, which did not know pre-votes yet, asked for votes while it was alone; now it does. All others have gone on. */
function migrated(): Network {
  const network = new Network(voters.map((id) => new TestNode({ voters, id, checkQuorum: true, preVote: id !== 3 })))
  network.campaign(1)
  network.isolate(3)
  network.propose(1, 'some data')
  for (let at = 0; at < 2; at++) network.campaign(3)
  expect(network.node(3).status).toMatchObject({ role: 'candidate', term: 3 })
  const { config, status } = network.node(3)
  network.node(3).raw = new RawNode({ ...config, preVote: true, applied: status.applied })
  network.heal()
  return network
}

describe('R-core nodes that learn of pre-votes one after the other', () => {
  it('PreVoteMigrationCanCompleteElection: a node with a higher term and an older log does not keep the others from electing', () => {
    const network = migrated()
    network.isolate(1)
    for (const id of [3, 2, 3, 2]) network.campaign(id)
    expect(network.leaders.filter((id) => id !== 1)).toEqual([2])
    expect(network.node(3).status).toMatchObject({ role: 'follower', leader: 2 })
    expect(network.node(3).terms).toEqual(network.node(2).terms)
  })

  it("PreVoteMigrationWithFreeStuckPreCandidate: a pre-candidate whose term is higher than the leader's gets back in", () => {
    const network = migrated()
    for (let at = 0; at < 2; at++) {
      network.campaign(3)
      expect([1, 2, 3].map((id) => network.node(id).status.term)).toEqual([1, 1, 3])
      expect(network.node(3).role).toBe('preCandidate')
    }
    // The leader's heartbeat is answered with the higher term.
    network.tick(1, 1)
    expect(network.node(1).status).toMatchObject({ role: 'follower', term: 3 })
    wait(network.node(2))
    network.campaign(1)
    expect(network.leaders).toEqual([1])
    expect(network.node(3).status).toMatchObject({ role: 'follower', leader: 1 })
  })
})
