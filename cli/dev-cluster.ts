/** `tidemark dev --nodes n`: a cluster on this machine, each node a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TidemarkError } from '../protocol/errors.ts'
import { quoted } from './arguments.ts'

/** How long the nodes may take to come together. */
const READY_TIMEOUT_MS = 30_000
const LOOK_EVERY_MS = 25

const PROGRAM = fileURLToPath(new URL('./tidemark.mjs', import.meta.url))

export interface DevClusterOptions {
  /** At the first node; the others at the ports behind it. 0: all of them at free ones. */
  readonly firstPort: number
  readonly dataDir: string
  /** Options of `serve` for each of them. */
  readonly options: readonly string[]
  /** What a person types to run this program. */
  readonly program: string
}

export interface DevCluster {
  /** Of each node, from node 1 on. */
  readonly addresses: readonly string[]
  readonly processIds: readonly number[]
  /** Resolves when a signal, or the last node, has ended it. */
  readonly ended: Promise<void>
}

/** Starts `count` nodes. Resolves when all of them are ready. */
export async function startDevCluster(count: number, { firstPort, dataDir, options, program }: DevClusterOptions): Promise<DevCluster> {
  const ports = await Promise.all(
    Array.from({ length: count }, (_, at) => (firstPort === 0 ? freePort() : Promise.resolve(firstPort + at))),
  )
  const voters = ports.map((port, at) => `${at + 1}@127.0.0.1:${port}`).join(',')
  const lines = ports.map((port, at) => {
    const own = ['--node-id', `${at + 1}`, '--listen', `127.0.0.1:${port}`, '--data-dir', join(dataDir, `node-${at + 1}`)]
    return ['serve', ...own, ...options, '--set', `voters=${voters}`]
  })
  const nodes = lines.map(startNode)
  let isInterrupted = false
  const stop = (): void => {
    isInterrupted = true
    for (const node of nodes) node.kill('SIGTERM')
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  const ended = Promise.all(
    nodes.map((node, at) =>
      untilEnded(node, (how) => {
        const again = `${program} ${(lines[at] ?? []).map(quoted).join(' ')}`
        if (!isInterrupted)
          process.stderr.write(
            `node ${at + 1} has ended (${how}); the others go on. To start it again, in a terminal of its own:\n\n  ${again}\n\n`,
          )
      }),
    ),
  ).then(() => {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
  })
  try {
    await Promise.all(ports.map((port, at) => untilReady(nodes[at] as ChildProcess, at + 1, port)))
  } catch (error) {
    const wasInterrupted = isInterrupted
    stop()
    await ended
    throw wasInterrupted ? new TidemarkError('CANCELLED', 'interrupted before all nodes were ready') : error
  }
  return { addresses: ports.map((port) => `127.0.0.1:${port}`), processIds: nodes.map(({ pid = -1 }) => pid), ended }
}

function startNode(line: readonly string[]): ChildProcess {
  // In a group of its own: Ctrl-C reaches this process alone, which then stops all of them in order.
  return spawn(process.execPath, [PROGRAM, ...line], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, TIDEMARK_LOG_LEVEL: process.env.TIDEMARK_LOG_LEVEL ?? 'warn' },
    detached: true,
  })
}

async function untilEnded(node: ChildProcess, tell: (how: string) => void): Promise<void> {
  const [code, signal] = (await once(node, 'exit')) as [number | null, NodeJS.Signals | null]
  tell(signal ?? `exit code ${code}`)
}

async function untilReady(node: ChildProcess, nodeId: number, port: number): Promise<void> {
  const deadlineMs = performance.now() + READY_TIMEOUT_MS
  while (performance.now() < deadlineMs) {
    if (node.exitCode !== null || node.signalCode !== null)
      throw new TidemarkError('UNAVAILABLE', `node ${nodeId} ended before it was ready`)
    const isReady = await fetch(`http://127.0.0.1:${port}/readyz`).then(
      (response) => response.ok,
      () => false,
    )
    if (isReady) return
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
  }
  throw new TidemarkError('REQUEST_TIMED_OUT', `node ${nodeId} was not ready after ${READY_TIMEOUT_MS / 1000} s`)
}

async function freePort(): Promise<number> {
  const server = net.createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
