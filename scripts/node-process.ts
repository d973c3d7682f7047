/** A node as a process of its own, for scripts and tests that stop and kill it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import net from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ENTRY = join(dirname(dirname(fileURLToPath(import.meta.url))), 'cli/tidemark.mjs')

/** How long a node may take until it is ready. */
const READY_TIMEOUT_MS = 30_000

export class NodeProcess {
  readonly port: number
  readonly host: string
  #arguments: readonly string[]
  /** Settings, by the names of their variables; changes count from the next start on. */
  environment: Readonly<Record<string, string>>
  /** Where it also writes what it says, one start after the other. */
  logPath: string | undefined
  /** Words of a command that becomes the node, as in `prlimit --nofile=120`; counts from the next start on. */
  wrapper: readonly string[] = []
  #child: ChildProcess | undefined
  #stderr = ''

  /** Not started yet. `environment`: settings, by the names of their variables. */
  constructor(
    port: number,
    dataDir: string,
    extra: readonly string[] = [],
    environment: Readonly<Record<string, string>> = {},
    host = '127.0.0.1',
  ) {
    this.port = port
    this.host = host
    this.environment = environment
    this.#arguments = [ENTRY, 'serve', '--listen', `${host}:${port}`, '--data-dir', dataDir, ...extra]
  }

  /** A node that gets all its settings from its environment, the port it listens on among them. Not started yet. */
  static fromEnvironment(port: number, environment: Readonly<Record<string, string>>): NodeProcess {
    const node = new NodeProcess(port, '', [], environment)
    node.#arguments = [ENTRY, 'serve']
    return node
  }

  /** Starts a node on a free port and waits until it is ready. */
  static async start(dataDir: string, extra: readonly string[] = []): Promise<NodeProcess> {
    const node = new NodeProcess(await freePort(), dataDir, extra)
    await node.start()
    return node
  }

  /** The same node run by another tree of sources, as of another version; counts from the next start on. */
  set sources(root: string) {
    this.#arguments = [join(root, 'cli/tidemark.mjs'), ...this.#arguments.slice(1)]
  }

  get address(): string {
    return `${this.host}:${this.port}`
  }

  get pid(): number {
    return this.#child?.pid ?? -1
  }

  /** What it wrote to standard error since it was started. */
  get stderr(): string {
    return this.#stderr
  }

  /** False when it was never started or has ended, by whatever. */
  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Starts it again, on the same port, and waits until it is ready. */
  async start(): Promise<void> {
    this.launch()
    await this.untilReady()
  }

  /** Starts it, and waits for nothing. */
  launch(): void {
    this.#stderr = ''
    const [command = '', ...words] = [...this.wrapper, process.execPath, ...this.#arguments]
    const child = spawn(command, words, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...this.environment },
    })
    this.#child = child
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString()
    })
    if (this.logPath !== undefined) child.stderr?.pipe(createWriteStream(this.logPath, { flags: 'a' }))
  }

  async untilReady(): Promise<void> {
    const child = this.#child
    if (child === undefined) throw new Error('the node was not started')
    const deadlineMs = performance.now() + READY_TIMEOUT_MS
    while (performance.now() < deadlineMs) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`the node ended before it was ready (${child.exitCode ?? child.signalCode}): ${this.#stderr}`)
      const isReady = await fetch(`http://${this.address}/readyz`).then(
        (response) => response.ok,
        () => false,
      )
      if (isReady) return
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    throw new Error(`the node was not ready after ${READY_TIMEOUT_MS} ms: ${this.#stderr}`)
  }

  /** Resolves when it has ended by itself, with its exit code; null: by a signal. */
  async ended(): Promise<number | null> {
    const child = this.#child
    if (child !== undefined && this.isRunning) await once(child, 'close')
    return child?.exitCode ?? null
  }

  /** Sends a signal that does not end it. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal)
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child
    if (child === undefined || !this.isRunning) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = net.createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
