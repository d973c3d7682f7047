/** What the runner needs of a peer: a server in a process of its own, and a client that does with it what its documentation advises. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'

export const TOPIC = 'bench'

export interface Mode {
  readonly name: string
  /** Every acknowledged record is on disk before it is acknowledged. */
  readonly isDurable: boolean
  /** What an acknowledgement means, for the table. */
  readonly means: string
}

export interface Peer {
  readonly name: string
  /** The client, and how it is used. */
  readonly client: string
  /** Undefined when it is not installed. */
  version(): string | undefined
  /** Of the version that is installed. */
  modes(): readonly Mode[]
  /** Starts it on 127.0.0.1 with an empty directory; what only a first start needs comes before `isPrepared` settles and is not timed. */
  prepare(directory: string, mode: Mode): Promise<Launch>
}

export interface Launch {
  /** Where clients find it. */
  readonly port: number
  start(): ServerProcess
  /** Connects and makes the topic when it is not there. Rejects while the server is not ready. */
  connect(): Promise<PeerClient>
}

export interface PeerClient {
  /** Resolves when the record is acknowledged. */
  sendOne(value: Buffer): Promise<unknown>
  /** As fast as it goes; resolves when all are acknowledged. */
  sendAll(count: number, value: Buffer): Promise<void>
  /** Reads so many from the start. */
  readAll(count: number): Promise<void>
  close(): Promise<unknown>
}

/** The processes of a server: the first, and whatever it started. */
export class ServerProcess {
  readonly #children: readonly ChildProcess[]
  #output = ''

  /** The last of the commands is the server, those before it what it needs. */
  constructor(
    commands: readonly (readonly [program: string, ...args: string[]])[],
    options: { readonly cwd?: string; readonly environment?: Readonly<Record<string, string>> } = {},
  ) {
    this.#children = commands.map(([program, ...args]) => {
      const environment = { ...process.env, ...options.environment }
      const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environment, ...(options.cwd && { cwd: options.cwd }) })
      for (const stream of [child.stdout, child.stderr])
        stream?.on('data', (chunk: Buffer) => {
          this.#output = `${this.#output}${chunk.toString()}`.slice(-OUTPUT_CHARACTERS_MAX)
        })
      return child
    })
    // Also when a client throws where nobody can catch it.
    process.once('exit', () => {
      for (const pid of this.pids) if (isRunning(pid)) process.kill(pid, 'SIGKILL')
    })
  }

  get pids(): number[] {
    return this.#children.flatMap(({ pid }) => (pid === undefined ? [] : treeOf(pid)))
  }

  /** Throws when it has ended by itself. */
  checkAlive(): void {
    const ended = this.#children.find(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null)
    if (ended !== undefined) throw new Error(`${ended.spawnfile} ended: ${this.#output}`)
  }

  async stop(): Promise<void> {
    for (const child of this.#children.toReversed()) {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) continue
      const tree = treeOf(child.pid)
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      const patience = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS)
      await ended
      clearTimeout(patience)
      for (const pid of tree) if (isRunning(pid)) process.kill(pid, 'SIGKILL')
    }
  }
}

const OUTPUT_CHARACTERS_MAX = 2000
const STOP_PATIENCE_MS = 20_000

/** A process and all below it. */
function treeOf(pid: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const parent = parentOf(Number(name))
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(name)])
  }
  const tree = [pid]
  for (const member of tree) tree.push(...(children.get(member) ?? []))
  return tree
}

function parentOf(pid: number): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return undefined // it ended meanwhile
  }
}

function isRunning(pid: number): boolean {
  return parentOf(pid) !== undefined
}

/** What a program says of its version, or undefined when there is no such program. */
export function outputOf(program: string, ...args: readonly string[]): string | undefined {
  const { error, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  return error === undefined ? `${stdout}${stderr}` : undefined
}

/** Calls `send` `count` times with at most `inFlight` of them unanswered. */
export async function windowed(count: number, inFlight: number, send: () => Promise<unknown>): Promise<void> {
  let left = count
  const lane = async (): Promise<void> => {
    while (left > 0) {
      left--
      await send()
    }
  }
  await Promise.all(Array.from({ length: Math.min(inFlight, count) }, lane))
}
