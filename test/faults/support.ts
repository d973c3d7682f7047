/** What tests of faults have in common: nodes as processes with a directory that goes with the test, and what lies on a disk. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, type TestContext } from 'vitest'
import { connect, type ConnectOptions, type Tidemark } from '../../client/index.ts'
import { freePort, NodeProcess } from '../../scripts/node-process.ts'

export const ROOT: string = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** What one test has begun, and the end of it undoes, the latest first. */
export interface Place {
  /** A directory that goes with the test. */
  directory(): Promise<string>
  /** A node as a process, not started. */
  node(dataDir: string, extra?: readonly string[]): Promise<NodeProcess>
  connect(bootstrap: string | readonly string[], options?: ConnectOptions): Promise<Tidemark>
  /** Called at the end of the test, whatever becomes of it. */
  after(undo: () => unknown): void
}

/** For the tests of a file. */
export function usePlace(): Place {
  const undoes: (() => unknown)[] = []
  afterEach(async () => {
    for (const undo of undoes.splice(0).reverse()) await undo()
  })
  const after = (undo: () => unknown): void => void undoes.push(undo)
  return {
    after,
    async directory() {
      const path = await mkdtemp(join(tmpdir(), 'tidemark-faults-'))
      after(() => rm(path, { recursive: true, force: true }))
      return path
    },
    async node(dataDir, extra = []) {
      const node = new NodeProcess(await freePort(), dataDir, extra)
      after(() => node.stop('SIGKILL'))
      return node
    },
    async connect(bootstrap, options) {
      const client = await connect(bootstrap, options)
      after(() => client.close())
      return client
    },
  }
}

/** Says in the table what was measured. */
export function showFigures({ task }: Pick<TestContext, 'task'>, figures: string): void {
  Object.assign(task.meta, { figures })
}

/** The files below a directory, with a digest of what is in each. */
export async function digestsOf(directory: string): Promise<ReadonlyMap<string, string>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return new Map(
    await Promise.all(
      paths
        .sort((a, b) => (a < b ? -1 : 1))
        .map(
          async (path) =>
            [
              path,
              createHash('sha1')
                .update(await readFile(path))
                .digest('hex'),
            ] as const,
        ),
    ),
  )
}

/** What a node says of its own state. */
export async function healthOf(
  address: string,
): Promise<{ readonly status: string; readonly reasons: { code: string; message: string }[] }> {
  return (await (await fetch(`http://${address}/healthz`)).json()) as { status: string; reasons: { code: string; message: string }[] }
}

/** The values of a topic's records, as texts. */
export async function valuesIn(tm: Tidemark, topic: string): Promise<string[]> {
  return (await Array.fromAsync(tm.consumer(topic, { start: 'earliest', end: 'now' }))).map(({ value }) => String(value))
}

/** Sends numbers to a topic, one after the other, until it is told to stop; resolves with those that were acknowledged. */
export async function sendUntil(stop: AbortSignal, tm: Tidemark, topic: string): Promise<string[]> {
  const acknowledged: string[] = []
  const producer = tm.producer()
  for (let n = 0; !stop.aborted; n++) {
    await producer.send(topic, { key: `k${n % 10}`, value: `${n}` })
    acknowledged.push(`${n}`)
  }
  return acknowledged
}

/** Starts a node that must not come up; what it says, once it has ended with exit code 1. */
export async function refusal(node: NodeProcess): Promise<string> {
  node.launch()
  expect(await node.ended()).toBe(1)
  return node.stderr
}

/** A number of a node's `/metrics`. */
export async function metricOf(address: string, name: string): Promise<number> {
  const text = await (await fetch(`http://${address}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(text)?.[1])
}

/** What a process has in memory by now, and has had at most. Where there is /proc. */
export function residentBytes(pid: number): { readonly now: number; readonly peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const read = (name: string): number => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1])
  return { now: read('VmRSS'), peak: read('VmHWM') }
}
