/** The three services of docker-compose.yml as processes: what a user gets from `docker compose up`. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect, type Tidemark } from '../../client/index.ts'
import { ComposeCluster } from '../../scripts/compose-cluster.ts'
import type { NodeProcess } from '../../scripts/node-process.ts'
import { readPackageIndex } from '../../scripts/package-index.ts'

const STANZAS = 5000

let directory: string
let cluster: ComposeCluster
let tm: Tidemark
let tookMs: number

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-compose-'))
  const startedMs = performance.now()
  cluster = await ComposeCluster.start(directory, { isolated: true })
  tookMs = Math.round(performance.now() - startedMs)
  tm = await connect(cluster.addresses)
})

afterAll(async () => {
  await tm?.close()
  await cluster?.stop('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
})

describe('the cluster of docker-compose.yml', () => {
  it('comes up, elects a controller and passes its own health checks', async () => {
    console.log(`three nodes were ready after ${tookMs} ms`)
    for (const name of cluster.nodes.keys()) expect(cluster.isHealthy(name), name).toBe(true)
    const { controllerId, nodes } = await tm.admin.describeCluster()
    expect([1, 2, 3]).toContain(controllerId)
    expect(nodes.filter(({ alive }) => alive)).toHaveLength(3)
  })

  it('takes real input into three replicas while one node is killed, and gives every stanza back once and in order', async () => {
    await tm.admin.createTopic('packages', { partitions: 6, replicas: 3 })
    const stanzas = readPackageIndex().slice(0, STANZAS)
    const producer = tm.producer()
    const victim = cluster.nodes.get('tidemark-2') as NodeProcess
    let acknowledged = 0
    const killed = Promise.withResolvers<void>()
    for (let at = 0; at < stanzas.length; at += 250) {
      if (at === 2500) victim.stop('SIGKILL').then(killed.resolve, killed.reject)
      await Promise.all(
        stanzas.slice(at, at + 250).map(async ({ key, text }) => {
          await producer.send('packages', { key, value: text })
          acknowledged++
        }),
      )
    }
    await killed.promise
    await victim.start()
    expect(acknowledged).toBe(stanzas.length)
    const wanted = Map.groupBy(stanzas, ({ key }) => key)
    const read = new Map<string, string[]>()
    for await (const { key, value } of tm.consumer('packages', { start: 'earliest', end: 'now' })) {
      const texts = read.get(String(key)) ?? []
      texts.push(String(value))
      read.set(String(key), texts)
    }
    expect(read.size).toBe(wanted.size)
    for (const [key, texts] of read) expect(texts).toEqual(wanted.get(key)?.map(({ text }) => text))
    const isr = async (): Promise<number[]> =>
      (await tm.admin.describeTopic('packages')).partitions.map((partition) => partition.isr.length)
    await expect.poll(isr, { timeout: 60_000 }).toEqual([3, 3, 3, 3, 3, 3])
  })
})
