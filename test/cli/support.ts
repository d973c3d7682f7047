/** Runs the command line as users do: as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ENTRY = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'cli/tidemark.mjs')

/** Where no contexts of the person who runs the tests are found. */
export const NO_CONTEXTS: Readonly<Record<string, string>> = { XDG_CONFIG_HOME: '/nonexistent', APPDATA: '/nonexistent' }

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface CliOptions {
  readonly input?: string | Buffer
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

/** A running command; nothing of our own settings reaches it. */
export function startCli(args: readonly string[], { cwd = tmpdir(), env = {} }: CliOptions = {}): ChildProcess {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(TIDEMARK_|npm_|NODE_OPTIONS|VITEST)/.test(name))
  return spawn(process.execPath, [ENTRY, ...args], { cwd, env: { ...Object.fromEntries(inherited), ...env } })
}

/** Runs a command to its end. */
export function runCli(args: readonly string[], options: CliOptions = {}): Promise<Finished> {
  const child = startCli(args, options)
  child.stdin?.on('error', () => {}) // a command that fails at once does not read
  child.stdin?.end(options.input ?? '')
  return finished(child)
}

export function finished(child: ChildProcess): Promise<Finished> {
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }))
  })
}

/** Resolves with all that was said once `pattern` is part of it; rejects when the command ends first. */
export function untilPrinted(child: ChildProcess, pattern: RegExp): Promise<string> {
  let text = ''
  return new Promise((resolve, reject) => {
    const take = (chunk: Buffer): void => {
      text += chunk.toString()
      if (pattern.test(text)) resolve(text)
    }
    child.stdout?.on('data', take)
    child.stderr?.on('data', take)
    child.once('close', (code) => reject(new Error(`ended with ${code} before it printed ${pattern}: ${text}`)))
  })
}
