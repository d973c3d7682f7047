/** What a gRPC tool does that knows nothing of tidemark: it asks the node what there is, then calls it. `buf curl` is one, grpcurl another. */
import { execFile } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Contract } from '../../protocol/contract.ts'
import { startTidemark, type TestTidemark } from '../../testing/index.ts'

const BUF = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'node_modules/.bin/buf')

let node: TestTidemark
beforeAll(async () => {
  node = await startTidemark()
})
afterAll(() => node?.close())

async function curl(path: string, ...args: readonly string[]): Promise<string> {
  const all = ['curl', '--protocol', 'grpc', '--http2-prior-knowledge', ...args, `http://${node.address}${path}`]
  return (await promisify(execFile)(BUF, all)).stdout
}

const call = async (method: string, request: object): Promise<unknown> =>
  JSON.parse(await curl(`/${method}`, '--data', JSON.stringify(request)))

describe('a tool that asks the node what can be called', () => {
  it.each(['grpc-v1', 'grpc-v1alpha'])('is told the services for clients, and none of those between nodes (%s)', async (version) => {
    const services = (await curl('', '--list-services', '--reflect-protocol', version)).trim().split('\n')
    expect(services).toEqual(expect.arrayContaining(['grpc.health.v1.Health', 'tidemark.v1.Cluster', 'tidemark.v1.Log']))
    expect(services.filter((name) => /Controller|Quorum|Replica|reflection/.test(name))).toEqual([])
  })

  it('can call them, with maps, choices and nested messages in its requests', async () => {
    const request = { topics: [{ name: 'made', partitions: 2, configs: { 'retention.ms': '1d' } }] }
    expect(await call('tidemark.v1.Cluster/CreateTopics', request)).toMatchObject({ topics: [{ name: 'made', partitions: 2 }] })
    const offsets = await call('tidemark.v1.Log/ListOffsets', { partitions: [{ topic: 'made', partition: 1, timestampMs: '5' }] })
    expect(offsets).toMatchObject({ partitions: [{ topic: 'made', partition: 1 }] })
    expect(await call('grpc.health.v1.Health/Check', {})).toEqual({ status: 'SERVING' })
  })

  it('is told of what there is not', async () => {
    await expect(curl('/tidemark.v1.Cluster/Explode', '--data', '{}')).rejects.toMatchObject({ stderr: expect.stringContaining('Explode') })
    await expect(curl('/nothing.Here/AtAll', '--data', '{}')).rejects.toMatchObject({ stderr: expect.stringContaining('nothing.Here') })
  })
})

describe('the contract as data', () => {
  const contract = new Contract()

  it('finds the file of services, calls, messages and fields', () => {
    const file = contract.fileNamed('tidemark/v1/log.proto')
    for (const symbol of ['Log', 'Log.Produce', 'ProduceRequest', 'ProduceRequest.acks'])
      expect(contract.fileOfSymbol(`tidemark.v1.${symbol}`)).toEqual(file)
  })

  it('finds nothing where there is nothing', () => {
    for (const symbol of ['', '.', 'tidemark', 'tidemark.v1.Nothing', 'tidemark.v1.Log.Produce.deeper'])
      expect(contract.fileOfSymbol(symbol)).toBeUndefined()
    expect(contract.fileNamed('nothing.proto')).toBeUndefined()
  })

  it('gives a file with all that it imports', () => {
    const errors = contract.fileNamed('tidemark/v1/errors.proto') ?? []
    expect(errors).toHaveLength(1)
    expect(contract.fileNamed('tidemark/v1/log.proto')).toEqual(expect.arrayContaining([...errors]))
  })
})
