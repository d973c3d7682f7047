/** Three real nodes in one process, on real sockets and files in memory. */
import { afterEach, describe, expect, it } from 'vitest'
import { defaultNodeConfig, type NodeConfig } from '../../broker/config.ts'
import { memoryQuorum, type RaftStore, type RunningNode, startNode } from '../../broker/server.ts'
import { connect, type Tidemark } from '../../client/index.ts'
import { ClusterService, NodeAction } from '../../protocol/gen/tidemark/v1/cluster.ts'
import { nodeClock, nodeRuntime } from '../../runtime/node.ts'
import { PeerChannels } from '../../controller/peer-channels.ts'
import { freePort } from '../../scripts/node-process.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'

/** A node with what outlives its process. */
class TestNode {
  readonly nodeId: number
  readonly port: number
  files = new MemoryFiles()
  quorum: RaftStore = memoryQuorum()
  running: RunningNode | undefined
  settings: Partial<NodeConfig>

  constructor(nodeId: number, port: number, settings: Partial<NodeConfig>) {
    this.nodeId = nodeId
    this.port = port
    this.settings = settings
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  async start(): Promise<void> {
    const config = defaultNodeConfig({
      nodeId: this.nodeId,
      dataDir: '/tidemark',
      listen: { host: '127.0.0.1', port: this.port },
      sessionTimeoutMs: 1500,
      heartbeatIntervalMs: 200,
      electionTimeoutMs: 400,
      electionHeartbeatIntervalMs: 50,
      shutdownTimeoutMs: 5000,
      ...this.settings,
      limits: { ...defaultNodeConfig().limits, diskMinFreeBytes: 0 },
    })
    this.running = await startNode(config, { ...nodeRuntime(), files: this.files }, { quorumStore: this.quorum })
  }

  async stop(): Promise<void> {
    await this.running?.close()
    this.running = undefined
  }

  /** Its disk is empty when it comes back. */
  wipe(): void {
    this.files = new MemoryFiles()
    this.quorum = memoryQuorum()
  }
}

const nodes: TestNode[] = []
const clients: Tidemark[] = []

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()))
  await Promise.all(nodes.splice(0).map((node) => node.stop()))
})

/** Nodes of one cluster, not started. */
async function clusterOf(count: number, settings: Partial<NodeConfig> = {}): Promise<TestNode[]> {
  const ports = await Promise.all(Array.from({ length: count }, () => freePort()))
  const voters = ports.map((port, at) => ({ nodeId: at + 1, host: '127.0.0.1', port }))
  const made = ports.map((port, at) => new TestNode(at + 1, port, { voters, ...settings }))
  nodes.push(...made)
  return made
}

async function startAll(made: readonly TestNode[]): Promise<void> {
  await Promise.all(made.map((node) => node.start()))
}

async function client(...of: readonly TestNode[]): Promise<Tidemark> {
  const tm = await connect(of.map(({ address }) => address))
  clients.push(tm)
  return tm
}

async function valuesIn(tm: Tidemark, topic: string): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of tm.consumer(topic, { start: 'earliest', end: 'now' })) values.push(String(value))
  return values.sort((a, b) => Number(a) - Number(b))
}

async function send(tm: Tidemark, topic: string, from: number, to: number): Promise<void> {
  const producer = tm.producer()
  await Promise.all(Array.from({ length: to - from }, (_, at) => producer.send(topic, { key: `k${at % 10}`, value: `${from + at}` })))
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `${at}`)
}

/** The codes of what is wrong, by the node's own word. */
async function healthOf({ address }: TestNode): Promise<string[]> {
  const { reasons } = (await (await fetch(`http://${address}/healthz`)).json()) as { reasons: { code: string }[] }
  return reasons.map(({ code }) => code)
}

async function isrOf(tm: Tidemark, topic: string): Promise<number[]> {
  return (await tm.admin.describeTopic(topic)).partitions.map(({ isr }) => isr.length)
}

/** Stops a controller and starts it with an empty disk, as if nothing had happened: it is turned away. */
async function loseDisk(node: TestNode): Promise<void> {
  await node.stop()
  node.wipe()
  const refused = await node.start().then(
    () => node.running?.failed,
    (error: unknown) => error,
  )
  expect(refused).toMatchObject({ code: 'DATA_DIR_INVALID' })
}

describe('three nodes', () => {
  it('form a cluster, put topics on all of them, and answer at any of them', async () => {
    const made = await clusterOf(3)
    await startAll(made)
    for (const node of made) {
      const tm = await client(node)
      await tm.admin.createTopic(`through-${node.nodeId}`, { partitions: 3 })
      expect((await tm.admin.describeTopic(`through-${node.nodeId}`)).partitions.map(({ leader }) => leader).sort((a, b) => a - b)).toEqual(
        [1, 2, 3],
      )
      await send(tm, `through-${node.nodeId}`, 0, 50)
      expect(await valuesIn(tm, `through-${node.nodeId}`)).toEqual(numbers(50))
    }
    const cluster = await (await client(made[1] as TestNode)).admin.describeCluster()
    expect(new Map(cluster.nodes.map(({ nodeId, alive }) => [nodeId, alive]))).toEqual(new Map([1, 2, 3].map((nodeId) => [nodeId, true])))
  })

  it('go on without one, which has everything again when it is back (K37)', async () => {
    const made = await clusterOf(3)
    await startAll(made)
    const tm = await client(...made)
    await tm.admin.createTopic('orders', { partitions: 3 })
    await send(tm, 'orders', 0, 100)
    for (const node of made) {
      await node.stop()
      const from = 100 * made.indexOf(node) + 100
      await send(tm, 'orders', from, from + 100)
      await node.start()
    }
    await expect.poll(() => isrOf(tm, 'orders'), { timeout: 15_000 }).toEqual([3, 3, 3])
    expect(await valuesIn(tm, 'orders')).toEqual(numbers(400))
    expect((await tm.admin.describeTopic('orders')).configs['min.insync.replicas']).toBe('2')
  })

  it('refuse writes when only one is left, and take them again when the others are back', async () => {
    const made = await clusterOf(3)
    await startAll(made)
    const tm = await client(...made)
    await tm.admin.createTopic('orders', { partitions: 1 })
    await send(tm, 'orders', 0, 10)
    const { leader } = (await tm.admin.describeTopic('orders')).partitions[0] as { leader: number }
    const others = made.filter(({ nodeId }) => nodeId !== leader)
    // As a crash: nobody hands anything over.
    for (const node of others) await node.stop()
    const producer = tm.producer({ deliveryTimeout: '2s' })
    await expect(producer.send('orders', { value: 'too few' })).rejects.toMatchObject({ code: 'DELIVERY_TIMED_OUT' })
    await producer.close()
    // What is committed can still be read.
    expect(await valuesIn(tm, 'orders')).toEqual(numbers(10))
    const left = made.find(({ nodeId }) => nodeId === leader) as TestNode
    await expect.poll(() => healthOf(left), { timeout: 15_000 }).toContain('NO_CONTROLLER')
    await Promise.all(others.map((node) => node.start()))
    await send(tm, 'orders', 10, 20)
    const values = (await valuesIn(tm, 'orders')).filter((value) => value !== 'too few')
    expect(values).toEqual(numbers(20))
    await expect.poll(() => healthOf(left), { timeout: 15_000 }).toEqual([])
  })

  it('R-id turn away a voter that lost its disk, and let it in as one that joins', async () => {
    const made = await clusterOf(3)
    await startAll(made)
    const tm = await client(...made)
    await tm.admin.createTopic('orders', { partitions: 3 })
    await send(tm, 'orders', 0, 50)
    const wiped = made[2] as TestNode
    await loseDisk(wiped)
    expect(await valuesIn(tm, 'orders')).toEqual(numbers(50))
    // What the error says to do: the same directory, which has been a voter's for a moment, joins.
    await wiped.stop()
    await tm.admin.cluster.removeController(3)
    wiped.settings = { join: made.slice(0, 2).map(({ port }) => ({ host: '127.0.0.1', port })) }
    await wiped.start()
    await expect.poll(() => isrOf(tm, 'orders'), { timeout: 20_000 }).toEqual([3, 3, 3])
    const { members } = await tm.admin.cluster.describeQuorum()
    expect(members.filter(({ voter }) => voter).map(({ nodeId }) => nodeId)).toEqual([1, 2, 3])
    expect(await valuesIn(tm, 'orders')).toEqual(numbers(50))
  })

  it('let a voter that lost its disk in that was started with voters, in vain, before it was told to join', async () => {
    const made = await clusterOf(3)
    await startAll(made)
    const wiped = made[2] as TestNode
    const tm = await client(...made)
    await tm.admin.createTopic('orders', { partitions: 3 })
    await loseDisk(wiped)
    await wiped.stop()
    wiped.settings = { join: made.slice(0, 2).map(({ port }) => ({ host: '127.0.0.1', port })) }
    await wiped.start()
    await expect.poll(() => isrOf(tm, 'orders'), { timeout: 20_000 }).toEqual([3, 3, 3])
    const votersOf = async (): Promise<number[]> =>
      (await tm.admin.cluster.describeQuorum()).members.filter(({ voter }) => voter).map(({ nodeId }) => nodeId)
    await expect.poll(votersOf, { timeout: 20_000 }).toEqual([1, 2, 3])
  })
})

describe('a controller that was removed from the quorum', () => {
  it('says that it does not vote, and is healthy once it was let in again', async () => {
    const made = await clusterOf(3)
    await startAll(made)
    const tm = await client(...made)
    const removed = made[2] as TestNode
    expect(await healthOf(removed)).toEqual([])
    await tm.admin.cluster.removeController(3)
    await expect.poll(() => healthOf(removed), { timeout: 20_000 }).toEqual(['NOT_A_VOTER'])
    await removed.stop()
    removed.settings = { join: [{ host: '127.0.0.1', port: made[0]?.port ?? 0 }] }
    await removed.start()
    await expect.poll(() => healthOf(removed), { timeout: 20_000 }).toEqual([])
  })
})

describe('a node of one cluster', () => {
  it('is turned away by another (K26)', async () => {
    const [home] = (await clusterOf(1, { voters: [] })) as [TestNode]
    await home.start()
    await home.stop()
    const [other] = (await clusterOf(1, { voters: [] })) as [TestNode]
    await other.start()
    const lost = new TestNode(2, await freePort(), { join: [{ host: '127.0.0.1', port: other.port }], roles: ['broker'] })
    lost.files = home.files
    nodes.push(lost)
    // Its directory belongs to node 1 of the first cluster; as node 2 it is refused before anything else.
    await expect(lost.start()).rejects.toMatchObject({ code: 'DATA_DIR_INVALID' })
    const strayed = new TestNode(1, await freePort(), { join: [{ host: '127.0.0.1', port: other.port }], roles: ['broker'] })
    strayed.files = home.files
    nodes.push(strayed)
    await expect(strayed.start()).rejects.toMatchObject({ code: 'INCONSISTENT_CLUSTER_ID' })
  })
})

describe('a node that is alone', () => {
  it('grows to three while it works, and nothing is lost', async () => {
    const [first] = (await clusterOf(1, { voters: [] })) as [TestNode]
    await first.start()
    const tm = await client(first)
    await tm.admin.createTopic('orders', { partitions: 3 })
    await send(tm, 'orders', 0, 100)
    const group = { group: 'billing', start: 'earliest' } as const
    for await (const message of tm.consumer('orders', group)) {
      await message.commit()
      break
    }
    const committed = await tm.admin.groups.offsets('billing')
    for (const nodeId of [2, 3]) {
      const node = new TestNode(nodeId, await freePort(), { join: [{ host: '127.0.0.1', port: first.port }] })
      nodes.push(node)
      await node.start()
    }
    const channels = new PeerChannels(nodeClock)
    const quorum = async (): Promise<number[]> => {
      const { response } = await channels.call(
        { host: '127.0.0.1', port: first.port },
        ClusterService.describeQuorum,
        {},
        { timeoutMs: 5000 },
      )
      return response.members.filter(({ voter }) => voter).map(({ nodeId }) => nodeId)
    }
    await expect.poll(quorum, { timeout: 15_000 }).toEqual([1, 2, 3])
    channels.close()
    await tm.admin.createTopic('replicated', { partitions: 3 })
    expect((await tm.admin.describeTopic('replicated')).replicas).toBe(3)
    await send(tm, 'replicated', 0, 100)
    // What was there is spread over the new nodes unasked, and every record comes along.
    const leadersOf = async (): Promise<number[]> =>
      (await tm.admin.describeTopic('orders')).partitions.map(({ leader }) => leader).sort((a, b) => a - b)
    await expect.poll(leadersOf, { timeout: 30_000 }).toEqual(expect.arrayContaining([2, 3]))
    expect(await valuesIn(tm, 'orders')).toEqual(numbers(100))
    // What keeps the groups was made on the first node alone; nobody has to think of it.
    await expect.poll(async () => new Set(await isrOf(tm, '__consumer_offsets')), { timeout: 30_000 }).toEqual(new Set([3]))
    const configs = async () => (await tm.admin.describeTopic('__consumer_offsets')).configs
    await expect.poll(configs, { timeout: 30_000 }).toMatchObject({ 'min.insync.replicas': '2' })
    // The first of them may go now.
    await first.stop()
    const left = await client(nodes[1] as TestNode)
    expect(await valuesIn(left, 'replicated')).toEqual(numbers(100))
    expect(await left.admin.groups.offsets('billing')).toEqual(committed)
  })
})

describe('a node that joins', () => {
  it('gets replicas and leaders by itself, gives them up when it is drained, and loses nothing on the way', async () => {
    const made = await clusterOf(3)
    await startAll(made)
    const tm = await client(...made)
    await tm.admin.createTopic('orders', { partitions: 8 })
    await send(tm, 'orders', 0, 100)
    const fourth = new TestNode(4, await freePort(), { roles: ['broker'], join: made.map(({ port }) => ({ host: '127.0.0.1', port })) })
    nodes.push(fourth)
    await fourth.start()
    const held = async (): Promise<{ replicas: number; leads: number; inSync: number[] }> => {
      const { partitions } = await tm.admin.describeTopic('orders')
      return {
        replicas: partitions.filter(({ replicas }) => replicas.includes(4)).length,
        leads: partitions.filter(({ leader }) => leader === 4).length,
        inSync: partitions.map(({ isr }) => isr.length),
      }
    }
    const inSync = Array<number>(8).fill(3)
    await expect.poll(held, { timeout: 20_000 }).toEqual({ replicas: 6, leads: 2, inSync })
    await send(tm, 'orders', 100, 200)
    const channels = new PeerChannels(nodeClock)
    const alter = async (action: NodeAction): Promise<string | undefined> => {
      const address = { host: '127.0.0.1', port: made[0]?.port ?? 0 }
      const { response } = await channels.call(address, ClusterService.alterNodes, { nodes: [{ nodeId: 4, action }] }, { timeoutMs: 5000 })
      return response.nodes[0]?.error?.code
    }
    expect(await alter(NodeAction.DRAIN)).toBeUndefined()
    await expect.poll(held, { timeout: 20_000 }).toEqual({ replicas: 0, leads: 0, inSync })
    await fourth.stop()
    await expect.poll(() => alter(NodeAction.REMOVE), { timeout: 10_000 }).toBeUndefined()
    channels.close()
    await send(tm, 'orders', 200, 300)
    expect(await valuesIn(tm, 'orders')).toEqual(numbers(300))
  })
})

describe('a node that listens on every address of its machine', () => {
  it('tells each client the address it dialled, and is no cluster for others until it has one to tell them', async () => {
    const [first, second] = [await freePort(), await freePort()]
    const alone = new TestNode(1, first, { listen: { host: '0.0.0.0', port: first } })
    nodes.push(alone)
    await alone.start()
    for (const host of ['127.0.0.1', 'localhost']) {
      const tm = await connect(`${host}:${first}`)
      clients.push(tm)
      expect((await tm.admin.describeCluster()).nodes).toMatchObject([{ host, port: first }])
    }
    const join = [{ host: '127.0.0.1', port: first }]
    for (const roles of [['broker', 'controller'], ['broker']] as const) {
      const stranger = new TestNode(2, second, { join, roles })
      await expect(stranger.start()).rejects.toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringMatching(/node 1 .*advertise/) })
    }
    await alone.stop()
    const told = new TestNode(1, first, { listen: { host: '0.0.0.0', port: first }, advertise: [{ host: '127.0.0.1', port: first }] })
    told.files = alone.files
    told.quorum = alone.quorum
    const other = new TestNode(2, second, { join })
    nodes.push(told, other)
    await told.start()
    await other.start()
    const tm = await client(other)
    expect((await tm.admin.describeCluster()).nodes).toMatchObject([{ port: first }, { port: second }])
  })

  it('is reached at its address among the voters', async () => {
    const made = await clusterOf(3)
    const everywhere = made.map((node) => {
      const listening = new TestNode(node.nodeId, node.port, {
        voters: made.map(({ nodeId, port }) => ({ nodeId, host: '127.0.0.1', port })),
        listen: { host: '0.0.0.0', port: node.port },
      })
      nodes.push(listening)
      return listening
    })
    await startAll(everywhere)
    const tm = await connect(`localhost:${everywhere[0]?.port}`)
    clients.push(tm)
    expect((await tm.admin.describeCluster()).nodes.map(({ host }) => host)).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.1'])
  })
})

describe('nodes that are reached by two ways', () => {
  it('tell each client the addresses it can reach: those of the way it came', async () => {
    const made = await clusterOf(3)
    // The same port by another name: two networks, as far as a client can tell.
    const reached = made.map((node) => {
      const both = [
        { host: '127.0.0.1', port: node.port },
        { host: 'localhost', port: node.port },
      ]
      const again = new TestNode(node.nodeId, node.port, {
        voters: made.map(({ nodeId, port }) => ({ nodeId, host: '127.0.0.1', port })),
        advertise: both,
      })
      nodes.push(again)
      return again
    })
    await startAll(reached)
    for (const host of ['127.0.0.1', 'localhost']) {
      const tm = await connect(`${host}:${reached[0]?.port}`)
      clients.push(tm)
      expect((await tm.admin.describeCluster()).nodes.map((node) => node.host)).toEqual([host, host, host])
      await tm.admin.createTopic(`by-${host}`, { partitions: 3 })
      await send(tm, `by-${host}`, 0, 30)
      expect(await valuesIn(tm, `by-${host}`)).toEqual(numbers(30))
    }
  })
})
