/** A leader that no majority hears steps down; nobody deposes one that is heard. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import { ELECTION_TICKS, Network, TestNode } from './network.ts'

const voters = [1, 2, 3]

/** Lets the followers forget when they heard the leader last. */
function wait(node: TestNode): void {
  for (let at = 0; at < ELECTION_TICKS; at++) node.raw.tick()
}

describe('check-quorum', () => {
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
})
