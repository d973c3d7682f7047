import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Finished, finished, NO_CONTEXTS, runCli, startCli, untilPrinted } from './support.ts'
import { useNode } from './node.ts'

const { cli, json, createTopic, node } = useNode()

describe('topic', () => {
  it('creates, describes, changes, grows, lists and deletes', async () => {
    expect(await json('topic', 'create', 'life', '-p', '2', '-c', 'retention.ms=1d')).toMatchObject([{ topic: 'life', partitions: 2 }])
    expect((await cli(['topic', 'create', 'life'])).stderr).toMatch(/\[TOPIC_ALREADY_EXISTS\]/)
    expect(await json('topic', 'alter', 'life', '-c', 'retention.bytes=1GiB', '--reset', 'retention.ms')).toMatchObject([
      { key: 'retention.bytes' },
    ])
    expect(await cli(['topic', 'grow', 'life', '-p', '3'])).toMatchObject({ code: 0, stdout: '', stderr: 'life has 3 partitions\n' })
    expect(await json('topic', 'describe', 'life')).toMatchObject({
      topic: 'life',
      partitions: [{ partition: 0 }, { partition: 1 }, { partition: 2 }],
    })
    expect((await cli(['topic', 'list'])).stdout).toMatch(/^topic +partitions +replicas +configs\n(.*\n)*life +3 +1 +retention\.bytes=/)
    expect(await cli(['topic', 'delete', 'life', '--yes'])).toMatchObject({ code: 0, stderr: 'life deleted\n' })
    expect(await cli(['topic', 'describe', 'life'])).toMatchObject({
      code: 3,
      stdout: '',
      stderr: expect.stringMatching(/\[UNKNOWN_TOPIC\]/),
    })
  })

  it('creates nothing with --dry-run, and nothing that is not allowed', async () => {
    expect(await json('topic', 'create', 'dry', '--dry-run')).toEqual([{ topic: 'dry', partitions: 1, replicas: 1 }])
    expect(await cli(['topic', 'describe', 'dry'])).toMatchObject({ code: 3 })
    expect(await cli(['topic', 'create', 'bad name'])).toMatchObject({ code: 2, stderr: expect.stringMatching(/\[INVALID_TOPIC_NAME\]/) })
    expect(await cli(['topic', 'create', 'x', '-c', 'retention.mss=1'])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/did you mean retention\.ms\?/),
    })
  })
})

describe('looking', () => {
  it('at offsets', async () => {
    const topic = await createTopic('looked-at', 2)
    await cli(['produce', topic, '-p', '1'], 'a\nb\n')
    expect(await json('offsets', topic)).toMatchObject([
      { partition: 0, earliest: 0, latest: 0, records: 0 },
      { partition: 1, earliest: 0, latest: 2, highWatermark: 2, records: 2 },
    ])
  })

  it('at the cluster', async () => {
    expect(await json('cluster', 'status')).toMatchObject({
      clusterId: node().clusterId,
      nodes: [{ nodeId: 1, port: node().port, alive: true }],
    })
    expect(await cli(['cluster', 'health', '--wait', '5s', '-o', 'json'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/"healthy"/),
    })
  })

  it('at topic names, for completion', async () => {
    await createTopic('completed')
    expect((await cli(['complete', '--', 'topic', 'describe'])).stdout.split('\n')).toContain('completed')
  })
})

describe('bench', () => {
  it.each(['produce', 'consume', 'e2e'])('%s measures on a topic of its own and removes it', async (kind) => {
    const few = kind === 'e2e' ? ['--duration', '300ms', '--rate', '500'] : ['--records', '2000']
    const row = (await json('bench', kind, ...few, '--topic', `bench-${kind}`)) as { records: number }
    expect(row.records).toBe(kind === 'e2e' ? 150 : 2000)
    expect(await cli(['topic', 'describe', `bench-${kind}`])).toMatchObject({ code: 3 })
  })

  it('consume reads what a topic holds that is to be kept, and fills one that is not there', async () => {
    const topic = await createTopic('bench-kept')
    await cli(['produce', topic], 'a\nb\n')
    expect(await json('bench', 'consume', '--keep', '--topic', topic)).toMatchObject({ records: 2 })
    expect(await json('bench', 'consume', '--keep', '--topic', 'bench-new', '--records', '500')).toMatchObject({ records: 500 })
    expect(await json('bench', 'consume', '--keep', '--topic', 'bench-new', '--records', '7')).toMatchObject({ records: 500 })
  })
})

describe('dev and log', () => {
  it('keep the data over restarts, stop in order, and can be looked at afterwards', async () => {
    const cwd = mkdtempSync(join(tmpdir(), 'tidemark-dev-'))
    try {
      writeFileSync(join(cwd, 'tidemark.yaml'), 'listen: 127.0.0.1:0\n')
      const first = await startDev(cwd)
      const at = (address: string): { readonly env: Record<string, string> } => ({ env: { ...NO_CONTEXTS, TIDEMARK_BOOTSTRAP: address } })
      await runCli(['topic', 'create', 'kept'], at(first.address))
      await runCli(['produce', 'kept'], { ...at(first.address), input: 'a\nb\n' })
      expect(await first.stop()).toMatchObject({ code: 0, stderr: '' })
      const second = await startDev(cwd)
      expect((await runCli(['consume', 'kept', '-e'], at(second.address))).stdout).toBe('a\nb\n')
      expect(await second.stop()).toMatchObject({ code: 0 })
      expect(await runCli(['log', 'verify', 'tidemark-data'], { cwd })).toMatchObject({ code: 0 })
    } finally {
      rmSync(cwd, { recursive: true, force: true })
    }
  })
})

interface Dev {
  readonly address: string
  stop(): Promise<Finished>
}

async function startDev(cwd: string): Promise<Dev> {
  const child = startCli(['dev'], { cwd, env: NO_CONTEXTS })
  const ended = finished(child)
  const welcome = await untilPrinted(child, /Metrics/)
  expect(welcome.match(/^ {2}\S.*(topic create|produce|consume) hello/gm)).toHaveLength(3)
  return {
    address: /runs at (\S+);/.exec(welcome)?.[1] ?? '',
    stop() {
      child.kill('SIGTERM')
      return ended
    },
  }
}
