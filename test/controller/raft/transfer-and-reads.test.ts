/** Handing leadership over, and reads confirmed by a majority. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import { type Message, makeMessage } from '../../../controller/raft/messages.ts'
import { ELECTION_TICKS, Network, TestNode } from './network.ts'

const voters = [1, 2, 3]
const nothing = new Uint8Array(0)

function elected(options = {}): Network {
  const network = Network.of(3, options)
  network.campaign(1)
  return network
}

function transfer(network: Network, to: number, via = 1): void {
  network.node(via).raw.transferLeader(to)
  network.settle()
}

describe('R-core leadership', () => {
  it('LeaderTransferToUpToDateNode: moves at once, and back', () => {
    const network = elected()
    transfer(network, 2)
    expect(network.leaders).toEqual([2])
    network.propose(2)
    transfer(network, 1, 2)
    expect(network.leaders).toEqual([1])
  })

  it('LeaderTransferToUpToDateNodeFromFollower: a follower may ask for it', () => {
    const network = elected()
    transfer(network, 2, 2)
    expect(network.leaders).toEqual([2])
  })

  it('LeaderTransferWithCheckQuorum: moves though the leader is heard', () => {
    const network = elected({ checkQuorum: true, preVote: true })
    transfer(network, 2)
    expect(network.leaders).toEqual([2])
  })

  it('LeaderTransferToSlowFollower: waits until the follower has everything', () => {
    const network = elected()
    network.isolate(3)
    network.propose(1)
    network.heal()
    transfer(network, 3)
    expect(network.leaders).toEqual([3])
    expect(network.node(3).terms).toEqual([1, 1, 2])
  })

  it('LeaderTransferAfterSnapshot: waits for the snapshot that the follower needs', () => {
    const network = elected()
    network.isolate(3)
    network.propose(1)
    const { node } = { node: network.node(1) }
    node.storage.createSnapshot(node.status.applied, node.status.confState, nothing)
    node.storage.compact(node.status.applied)
    network.heal()
    transfer(network, 3)
    // The follower hears of it with the next heartbeat at the latest.
    network.tick(1, 2)
    expect(network.leaders).toEqual([3])
  })

  it('LeaderTransferToSelf, LeaderTransferToNonExistingNode, TransferNonMember: change nothing', () => {
    const network = elected()
    for (const to of [1, 4]) transfer(network, to)
    expect(network.node(1).status).toMatchObject({ role: 'leader', transferee: 0, term: 1 })
    const outsider = new TestNode({ voters: [2, 3, 4], id: 1 })
    outsider.step({ type: 'timeoutNow', from: 2 })
    expect(outsider.role).toBe('follower')
  })

  it('LeaderTransferTimeout, LeaderTransferIgnoreProposal: refuses proposals meanwhile, and goes on leading after an election timeout', () => {
    const network = elected()
    network.isolate(3)
    transfer(network, 3)
    expect(network.node(1).raw.propose(Buffer.from('x'))).toEqual({ ok: false, reason: 'transferring' })
    network.tick(1, ELECTION_TICKS)
    expect(network.node(1).status).toMatchObject({ role: 'leader', transferee: 0 })
    expect(network.node(1).raw.propose(Buffer.from('x')).ok).toBe(true)
  })

  it('LeaderTransferTimeout: has a whole election timeout, whenever it began', () => {
    const network = elected()
    network.isolate(3)
    network.tick(1, ELECTION_TICKS - 2)
    transfer(network, 3)
    network.tick(1, ELECTION_TICKS - 1)
    expect(network.node(1).status.transferee).toBe(3)
    network.tick(1, 1)
    expect(network.node(1).status).toMatchObject({ role: 'leader', transferee: 0 })
  })

  it('LeaderTransferReceiveHigherTermVote: an election ends it', () => {
    const network = elected()
    network.isolate(3)
    transfer(network, 3)
    network.node(2).raw.campaign()
    network.settle()
    expect(network.leaders).toEqual([2])
    expect(network.node(1).status.transferee).toBe(0)
  })

  for (const [name, type] of [
    ['LeaderTransferRemoveNode', 'remove'],
    ['LeaderTransferDemoteNode', 'addLearner'],
  ] as const)
    it(`${name}: ends when the other does not vote any more`, () => {
      const network = elected()
      network.isolate(3)
      network.node(1).raw.proposeConfChange({ type, nodeId: 3, context: nothing })
      transfer(network, 3)
      expect(network.node(1).status).toMatchObject({ role: 'leader', transferee: 0 })
    })

  it('LeaderTransferBack: asking for the leader itself ends it', () => {
    const network = elected()
    network.isolate(3)
    transfer(network, 3)
    expect(network.node(1).status.transferee).toBe(3)
    transfer(network, 1)
    expect(network.node(1).status).toMatchObject({ role: 'leader', transferee: 0 })
  })

  it('LeaderTransferSecondTransferToAnotherNode: the later wish counts', () => {
    const network = elected()
    network.isolate(3)
    transfer(network, 3)
    transfer(network, 2)
    expect(network.leaders).toEqual([2])
  })

  it('LeaderTransferSecondTransferToSameNode: does not prolong it', () => {
    const network = elected()
    network.isolate(3)
    transfer(network, 3)
    network.tick(1, ELECTION_TICKS - 1)
    transfer(network, 3)
    network.tick(1, 1)
    expect(network.node(1).status).toMatchObject({ role: 'leader', transferee: 0 })
  })
})

describe('R-core reads', () => {
  it('ReadOnlyOptionSafe: see what was committed when they were asked for, at the leader and at followers', () => {
    const network = elected()
    for (const id of voters) {
      network.propose(1)
      expect(network.node(id).raw.readIndex(`of ${id}`)).toBe(true)
      network.settle()
      expect(network.node(id).reads).toEqual([{ index: network.node(1).status.commit, context: `of ${id}` }])
    }
  })

  it('ReadOnlyWithLearner: a learner may ask, and its answer does not count', () => {
    const network = new Network([1, 2].map((id) => new TestNode({ id, voters: [1], learners: [2] })))
    network.campaign(1)
    network.node(2).raw.readIndex('learner')
    network.settle()
    expect(network.node(2).reads).toEqual([{ index: 1, context: 'learner' }])
    const lonely = new TestNode({ voters: [1, 3], learners: [2] }).lead()
    lonely.acknowledgedBy(3)
    lonely.raw.readIndex('a')
    const round = lonely.flush()[0]?.context as string
    lonely.step({ type: 'heartbeatResponse', from: 2, term: 1, context: round })
    expect(lonely.reads).toEqual([])
    lonely.step({ type: 'heartbeatResponse', from: 3, term: 1, context: round })
    expect(lonely.reads).toHaveLength(1)
  })

  it('ReadOnlyForNewLeader: refused until an entry of its own term is committed', () => {
    const node = new TestNode({ voters, terms: [1], hardState: { commit: 1 } }).lead()
    expect(node.raw.readIndex('early')).toBe(false)
    node.acknowledgedBy(2)
    expect(node.raw.readIndex('late')).toBe(true)
  })

  it('ReadOnlyDuplicateRequest: a context used twice is not confirmed by answers to its first use', () => {
    const node = new TestNode({ voters }).lead()
    node.acknowledgedBy(2)
    const ask = (): Message => {
      node.raw.readIndex('same')
      return node.flush().at(-1) as Message
    }
    const first = ask()
    node.step({ type: 'heartbeatResponse', from: 2, term: 1, context: first.context })
    expect(node.reads).toHaveLength(1)
    const second = ask()
    node.step({ type: 'heartbeatResponse', from: 3, term: 1, context: first.context })
    expect(node.reads).toHaveLength(1)
    node.step({ type: 'heartbeatResponse', from: 3, term: 1, context: second.context })
    expect(node.reads).toHaveLength(2)
  })

  it('NodeReadIndexToOldLeader: a follower that was taken for the leader does not ask under its own name', () => {
    const network = elected()
    expect(network.node(2).step({ type: 'readIndex', from: 3, term: 1, context: 'x' })).toEqual([])
  })

  it('leases: there is no option that answers reads by the clock', () => {
    expect(Object.keys(new TestNode({}).config).filter((key) => /lease|readOnly|forward|joint/i.test(key))).toEqual([])
  })
})

describe('messages from outside', () => {
  it('are dropped when they are malformed, whatever the role', () => {
    const entry = { index: 5, term: 1, type: 'normal', data: nothing } as const
    const malformed: Partial<Message>[] = [
      { type: 'append', entries: [entry] },
      { type: 'append', index: 4, entries: [{ ...entry, term: 9 }] },
      // A leader's terms do not go back.
      { type: 'append', term: 3, logTerm: 1, entries: [2, 1].map((term, at) => ({ ...entry, index: at + 1, term })) },
      { type: 'append', term: 3, logTerm: 2, index: 4, entries: [entry] },
      { type: 'append', index: Number.NaN },
      { type: 'append', index: -1 },
      { type: 'heartbeat', commit: 0.5 },
      { type: 'appendResponse', index: Number.NaN },
      { type: 'snapshot', snapshot: { meta: { index: 9, term: 1, confState: { voters: [1, 1], learners: [] } }, data: nothing } },
      { type: 'snapshot', snapshot: { meta: { index: 9, term: 1, confState: { voters: [], learners: [1] } }, data: nothing } },
      { type: 'append', to: 2 },
      { type: 'append', from: 0 },
    ]
    for (const lead of [false, true])
      for (const fields of malformed) {
        const node = lead ? new TestNode({ voters }).lead() : new TestNode({ voters, hardState: { term: 1 } })
        const before = node.status
        node.raw.step({ ...makeMessage({ type: 'append', from: 2, to: 1, term: 1 }), ...fields })
        expect(node.flush()).toEqual([])
        expect(node.status).toEqual(before)
      }
  })
})
