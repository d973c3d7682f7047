/** What the end-to-end tests share: a clean environment, child processes, and a temporary directory each. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

export interface Finished {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd: string
  readonly env?: NodeJS.ProcessEnv
  readonly input?: string
}

/** Longer than any step takes: what hangs is ended and told, before the test's own time is over. */
const STEP_TIMEOUT_MS = 200_000

/** Runs a program to its end, whatever that is. */
export function run(file: string, args: readonly string[], { cwd, env = userEnvironment(), input = '' }: RunOptions): Promise<Finished> {
  return new Promise((resolve) => {
    const child = execFile(file, [...args], { cwd, env, maxBuffer: 1 << 26, timeout: STEP_TIMEOUT_MS }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1
      resolve({ code, stdout, stderr: error?.killed === true ? `${stderr}ended after ${STEP_TIMEOUT_MS} ms` : stderr })
    })
    child.stdin?.end(input)
  })
}

/** Runs a program that has to succeed; otherwise the failure shows all that it said. */
export async function runOk(file: string, args: readonly string[], options: RunOptions): Promise<Finished> {
  const done = await run(file, args, options)
  if (done.code !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${done.code}\n${done.stdout}\n${done.stderr}`)
  return done
}

/** The environment of a user's shell: without what npm, vitest and the bootstrap put into ours, with how the registry is reached. */
export function userEnvironment(): NodeJS.ProcessEnv {
  const ours = /^(npm_|VITEST|TIDEMARK_|(INIT_CWD|NODE_ENV|NODE_OPTIONS|NODE_CHANNEL_FD|NODE|TEST|PATH)$)/
  const reachesRegistry = /^npm_config_(registry|ca|cafile|strict_ssl|proxy|https_proxy|noproxy|cache|userconfig|globalconfig)$/
  const inherited = Object.entries(process.env).filter(([name]) => reachesRegistry.test(name) || !ours.test(name))
  return { ...Object.fromEntries(inherited), PATH: pathOutside().join(delimiter) }
}

/** The same with the Node of this process first on the PATH, as a user of the package has it. */
export function environmentWithThisNode(): NodeJS.ProcessEnv {
  return { ...userEnvironment(), PATH: [dirname(process.execPath), ...pathOutside()].join(delimiter) }
}

function pathOutside(): string[] {
  return (process.env.PATH ?? '').split(delimiter).filter((directory) => directory !== '' && !directory.includes('node_modules'))
}

/** The Node of the machine, if it has one that is too old to run tidemark. */
export async function olderNode(): Promise<string | undefined> {
  for (const node of pathOutside().map((directory) => join(directory, 'node'))) {
    if (!existsSync(node)) continue
    const { stdout } = await run(node, ['-p', 'process.versions.node'], { cwd: tmpdir() })
    return Number.parseInt(stdout, 10) < 24 ? node : undefined
  }
  return undefined
}

/** A temporary directory that goes with `await using`. */
export async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'tidemark-e2e-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) }
}

const SERVER_STOP_MS = 40_000

/** A server in a process group of its own, told to stop when it goes out of scope. What does not stop is killed. */
export class Server implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #ended: Promise<number>
  #output = ''
  #onOutput: () => void = () => {}

  constructor(file: string, args: readonly string[], { cwd, env = userEnvironment() }: RunOptions) {
    this.#child = spawn(file, [...args], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text
        this.#onOutput()
      })
    }
    // 'close' comes when the last process of the group has let go of the output, not only the first one.
    this.#ended = new Promise((resolve) => {
      this.#child.on('close', (code) => resolve(code ?? -1))
      this.#child.on('error', () => resolve(-1))
    })
  }

  get output(): string {
    return this.#output
  }

  /** Resolves with the match once the output has it; rejects when the process ends without. */
  async said(pattern: RegExp): Promise<RegExpExecArray> {
    const found = new Promise<RegExpExecArray>((resolve) => {
      this.#onOutput = () => {
        const match = pattern.exec(this.#output)
        if (match !== null) resolve(match)
      }
      this.#onOutput()
    })
    const ended = this.#ended.then((code) => {
      throw new Error(`ended with ${code} before it said ${pattern}:\n${this.#output}`)
    })
    return await Promise.race([found, ended])
  }

  /** Asks the first process of the group to stop; resolves once all of them have ended. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    const giveUp = setTimeout(() => this.#killGroup(), SERVER_STOP_MS)
    await this.#ended
    clearTimeout(giveUp)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #killGroup(): void {
    this.#output += `\nkilled: it did not stop within ${SERVER_STOP_MS} ms`
    if (this.#child.pid !== undefined) process.kill(-this.#child.pid, 'SIGKILL')
  }
}
