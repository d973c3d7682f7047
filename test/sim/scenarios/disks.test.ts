/** Disks that are not what their node takes them for: restored from a backup, copied, empty, of another process. */
import { describe, expect, it } from 'vitest'
import type { DiskImage } from '../disk.ts'
import type { SimNode } from '../node.ts'
import { play, type Scenario } from './scenario.ts'

/** Nodes 4 and 5 have the only copies, and are no controllers: what becomes of the quorum is another matter. */
const TWO_COPIES = { nodeCount: 5, controllerCount: 3, replicas: 2, configs: { 'min.insync.replicas': '2' } } as const

/** What nodes may say at level error here. */
function expectErrors(s: Scenario, ...events: string[]): void {
  s.cluster.oracles.expectsError = (_nodeId, event) => events.includes(event)
}

async function restart(s: Scenario, node: SimNode): Promise<void> {
  node.kill()
  await s.until('it is out', () => !s.state.isr.includes(node.nodeId))
  node.start()
  await s.untilInSync(4, 5)
}

/** The node dies, and its disk is replaced by an image of it. */
function putBack(node: SimNode, image: DiskImage): void {
  node.kill()
  node.disk.restored(image)
}

describe('a node that comes back with an older image of its disk', () => {
  it('K24 from an earlier run is in no ISR and no ELR until it has caught up, and does not lead', () =>
    play(TWO_COPIES, async (s) => {
      await s.place(4, 5)
      const [leader, node] = [s.node(4), s.node(5)]
      await s.send(3)
      const image = await s.cluster.run(node.disk.image())
      await restart(s, node)
      await s.send(3)
      putBack(node, image)
      await s.until('it is out', () => s.state.isr.join() === '4')
      expect(s.state.elr).toEqual([5])
      node.start()
      await s.until('it has been told', () => s.said.some(({ event, fields }) => event === 'directory.renewed' && fields.nodeId === 5))
      leader.kill()
      await s.until('it is let in, as another disk', () => node.isUp && s.cluster.image.nodes.get(5)?.fenced === false)
      await s.until('the leader is out', () => s.state.leader === -1)
      // Alive, and a replica; but the three records are not there.
      expect(s.replicaOn(node).log.logEndOffset).toBe(3)
      expect(s.state.elr).toEqual([4])
      await s.advance(2000)
      expect(s.state.leader).toBe(-1)
      leader.start()
      await s.untilInSync(4, 5)
      expect(s.replicaOn(node).log.logEndOffset).toBe(6)
    }))

  it('K24 of the present run is found out by its leader, before it could lead', () =>
    play(TWO_COPIES, async (s) => {
      await s.place(4, 5)
      const [leader, node] = [s.node(4), s.node(5)]
      await s.send(3)
      const image = await s.cluster.run(node.disk.image())
      await s.send(3)
      putBack(node, image)
      await s.until('it is out', () => s.state.isr.join() === '4')
      expect(s.state.elr).toEqual([5])
      expectErrors(s, 'replica.incomplete')
      node.start()
      await s.until('nobody counts on it', () => s.state.elr.length === 0)
      expect(s.countOf('replica.incomplete', 4)).toBe(1)
      await s.untilInSync(4, 5)
      expect(s.replicaOn(node).log.logEndOffset).toBe(6)
      leader.kill()
      await s.until('it leads', () => s.state.leader === 5)
      leader.start()
    }))

  it.each([
    ['from an earlier run', true],
    ['of the present run', false],
  ])('K24 %s as a controller is turned away, whatever it would vote, and let in as one that joins', (_when, isEarlier) =>
    play({}, async (s) => {
      const [first, , active] = s.nodesByController as [number, number, number]
      const node = s.node(first)
      await s.send(3)
      const image = await s.cluster.run(node.disk.image())
      if (isEarlier) {
        node.kill()
        node.start()
        await s.untilInSync(1, 2, 3)
      }
      for (let at = 0; at < 5; at++) await s.cluster.run(s.admin.createTopic(`other-${at}`, { partitions: 1, replicas: 3 }))
      await s.send(3)
      putBack(node, image)
      await s.until('it is out', () => !s.state.isr.includes(first))
      s.cluster.isSupervised = (one) => one !== node
      expectErrors(s, 'cluster.lost')
      for (let attempt = 0; attempt < 3; attempt++) {
        const life = node.start()
        await s.until('it has ended', () => life.failure !== undefined)
        expect(life.failure).toMatchObject({ code: attempt === 0 ? 'DATA_DIR_OUTDATED' : 'DATA_DIR_INVALID' })
      }
      expect(s.cluster.activeController?.nodeId).toBe(active)
      await s.send(3)
      await joinAnew(s, node)
      const { members } = await s.cluster.run(s.admin.cluster.describeQuorum())
      expect(members.filter(({ voter }) => voter)).toHaveLength(3)
    }),
  )

  it('K24 from an earlier run as a controller makes no leader of the quorum of one that lacks what it has forgotten', () =>
    play({}, async (s) => {
      const [node, behind, active] = s.nodesByController.map((id) => s.node(id)) as [SimNode, SimNode, SimNode]
      const image = await s.cluster.run(node.disk.image())
      const epoch = nodeEpochOn(s, behind, node)
      node.kill()
      node.start()
      await s.until('both know that it was started again', () => [behind, active].every((one) => nodeEpochOn(s, one, node) > epoch))
      await s.untilInSync(1, 2, 3)
      s.cut(behind.nodeId, [node.nodeId, active.nodeId])
      await s.cluster.run(s.admin.createTopic('late', { partitions: 1, replicas: 1 }))
      active.kill()
      putBack(node, image)
      s.cluster.network.heal()
      s.cluster.isSupervised = () => false
      expectErrors(s, 'cluster.lost')
      const life = node.start()
      await s.advance(5000)
      expect(s.cluster.activeController).toBeUndefined()
      active.start()
      await s.until('those two have a leader', () => s.cluster.activeController !== undefined)
      await s.until('it has ended', () => life.failure !== undefined)
      expect((await s.cluster.run(s.admin.listTopics())).map(({ name }) => name)).toContain('late')
      s.cluster.isSupervised = (one) => one !== node
      await joinAnew(s, node)
    }))
})

/** The run of `node` that `observer` knows. */
function nodeEpochOn(s: Scenario, observer: SimNode, node: SimNode): number {
  return s.cluster.imageOf(observer)?.nodes.get(node.nodeId)?.nodeEpoch ?? 0
}

/** A controller whose directory was turned away comes back as one that is new. */
async function joinAnew(s: Scenario, node: SimNode): Promise<void> {
  await s.cluster.run(s.admin.cluster.removeController(node.nodeId))
  node.join = s.cluster.nodes.filter((one) => one !== node).map(({ nodeId }) => nodeId)
  node.start()
  await s.untilInSync(1, 2, 3)
}

describe('a second process of a node', () => {
  it('K25 with the same number and another directory is not let in while the first one lives', () =>
    play({ nodeCount: 4, controllerCount: 3 }, async (s) => {
      await s.place(4, 1, 2)
      const epoch = s.cluster.image.nodes.get(4)?.nodeEpoch
      const twin = s.cluster.makeNode(4, 'n4-twin')
      s.cluster.isSupervised = (one) => one !== twin
      const life = twin.start()
      await s.advance(4000)
      expect(life.isStarted).toBe(false)
      expect(
        s.said.some(
          ({ event, fields }) => event === 'registration.retried' && (fields.error as { code?: string }).code === 'DUPLICATE_NODE',
        ),
      ).toBe(true)
      expect(s.cluster.image.nodes.get(4)?.nodeEpoch).toBe(epoch)
      expect(s.state.leader).toBe(4)
      await s.send(2)
      twin.kill()
    }))

  it('K25 with the number of a controller and another directory does not take its vote while the first one lives', () =>
    play({}, async (s) => {
      const [first, ...others] = s.nodesByController.map((id) => s.node(id)) as [SimNode, SimNode, SimNode]
      for (const node of [first, s.cluster.activeController as SimNode]) {
        const twin = s.cluster.makeNode(node.nodeId, `n${node.nodeId}-twin`)
        twin.join = others.map(({ nodeId }) => nodeId)
        s.cluster.isSupervised = (one) => one !== twin
        const life = twin.start()
        await s.until('it is told why', () =>
          s.said.some(({ event, fields }) => event === 'quorum.joining' && (fields.error as { code?: string }).code === 'DUPLICATE_NODE'),
        )
        await s.advance(4000)
        expect(life.isStarted).toBe(false)
        const { members } = await s.cluster.run(s.admin.cluster.describeQuorum())
        expect(
          members
            .filter(({ voter, alive }) => voter && alive)
            .map(({ nodeId }) => nodeId)
            .sort((a, b) => a - b),
        ).toEqual([1, 2, 3])
        twin.kill()
        s.said.length = 0
      }
      await s.send(2)
    }))

  it('K25 with a copy of the directory takes the place of the first one, which is not taken for it any more', () =>
    play({ ...TWO_COPIES }, async (s) => {
      await s.place(4, 5)
      await s.send(3)
      const node = s.node(5)
      const twin = s.cluster.makeNode(5, 'n5-twin')
      twin.disk.restored(await s.cluster.run(node.disk.image()))
      expectErrors(s, 'cluster.lost')
      s.cluster.isSupervised = () => false
      const life = twin.start()
      const { life: first } = node
      await s.until('the first one has ended', () => first?.failure !== undefined)
      expect(first?.failure).toMatchObject({ code: 'FENCED_NODE_EPOCH' })
      await s.until('the copy is up', () => life.isStarted)
      const again = node.start()
      await s.until('the first one is refused', () => again.failure !== undefined)
      expect(again.failure).toMatchObject({ code: 'DATA_DIR_OUTDATED' })
      twin.kill()
      s.cluster.isSupervised = () => true
      node.start()
      await s.untilInSync(4, 5)
    }))
})
