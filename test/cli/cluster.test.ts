/** The verbs of `tidemark cluster` against three real nodes. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ClusterProcess } from '../../scripts/cluster-process.ts'
import { type Finished, NO_CONTEXTS, runCli } from './support.ts'

let directory: string
let cluster: ClusterProcess
let bootstrap: readonly string[]

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-cli-cluster-'))
  cluster = await ClusterProcess.start(directory, 3, { TIDEMARK_SESSION_TIMEOUT: '2s', TIDEMARK_HEARTBEAT_INTERVAL: '300ms' })
  bootstrap = ['--bootstrap', cluster.addresses.join(',')]
  await tidemark('topic', 'create', 'orders', '--partitions', '3', ...bootstrap)
}, 60_000)

afterAll(async () => {
  await cluster?.stop('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
})

function tidemark(...args: readonly string[]): Promise<Finished> {
  return runCli(args, { env: NO_CONTEXTS })
}

async function rows(...command: readonly string[]): Promise<Record<string, unknown>[]> {
  const { stdout, code } = await tidemark(...command, '-o', 'json', ...bootstrap)
  expect(code).toBe(0)
  return JSON.parse(stdout) as Record<string, unknown>[]
}

describe('tidemark cluster', () => {
  it('nodes: says what each leads and holds', async () => {
    const nodes = await rows('cluster', 'nodes')
    expect(nodes.map(({ node, alive, state, leads, replicas, inSync }) => ({ node, alive, state, leads, replicas, inSync }))).toEqual(
      [1, 2, 3].map((node) => ({ node, alive: true, state: 'alive', leads: 1, replicas: 3, inSync: 3 })),
    )
    expect(nodes.filter(({ controller }) => controller === true)).toHaveLength(1)
  })

  it('leaders: says who leads each partition', async () => {
    const leaders = await rows('cluster', 'leaders')
    expect(leaders.map(({ topic, partition, preferred }) => [topic, partition, preferred])).toEqual(
      [0, 1, 2].map((partition) => ['orders', partition, true]),
    )
  })

  it('quorum: says who votes and who leads them', async () => {
    const members = await rows('cluster', 'quorum')
    expect(members.map(({ role }) => role).sort((a, b) => String(a).localeCompare(String(b)))).toEqual(['leader', 'voter', 'voter'])
    expect(members.every(({ alive, directory: disk }) => alive === true && String(disk).length === 22)).toBe(true)
  })

  it('health: ends with 10 and names what is wrong while a node is gone, and with 0 when it is back', async () => {
    expect((await tidemark('cluster', 'health', '--wait', '10s', ...bootstrap)).code).toBe(0)
    const victim = cluster.nodes[2]
    await victim?.stop('SIGKILL')
    const sick = await tidemark('cluster', 'health', ...bootstrap)
    expect(sick.code).toBe(10)
    expect(sick.stdout).toContain(`node 3 (${victim?.address}) does not answer`)
    await victim?.start()
    expect((await tidemark('cluster', 'health', '--wait', '30s', ...bootstrap)).code).toBe(0)
  })

  it('offsets: asks every leader', async () => {
    const offsets = await rows('offsets', 'orders')
    expect(offsets.map(({ partition }) => partition)).toEqual([0, 1, 2])
  })

  it('remove-node: a node that is alive keeps its place, and its vote', async () => {
    const { code, stderr } = await tidemark('cluster', 'remove-node', '3', '--yes', ...bootstrap)
    expect([code, stderr]).toEqual([4, expect.stringMatching(/is alive; stop it first \[NODE_IN_USE\]/)])
    expect(await rows('cluster', 'quorum')).toHaveLength(3)
  })

  it('drain, remove-node and unclean elections ask first', async () => {
    for (const verb of [
      ['drain', '3'],
      ['remove-node', '3'],
      ['leaders', 'elect', '--unclean'],
    ]) {
      const { code, stderr } = await tidemark('cluster', ...verb, ...bootstrap)
      expect([code, stderr.includes('say --yes')]).toEqual([2, true])
    }
  })
})
