/** Faults of system calls, injected into a running process by strace. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'

/** Whether strace may attach to processes of ours. */
export function canTrace(): boolean {
  try {
    execFileSync('strace', ['-o', '/dev/null', 'true'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

export interface Injection {
  /** The process is left alone again. */
  stop(): Promise<void>
}

/** `fault` in strace's words, as in `fdatasync:error=EIO`. Resolves once every thread of the process is held to it. */
export async function inject(pid: number, fault: string): Promise<Injection> {
  const words = ['-f', '-p', String(pid), '-e', `trace=${fault.slice(0, fault.indexOf(':'))}`, '-e', `inject=${fault}`]
  const child: ChildProcess = spawn('strace', words, { stdio: ['ignore', 'ignore', 'pipe'] })
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (chunk: Buffer) => {
      if (chunk.toString().includes('attached')) resolve()
    })
    child.once('exit', (code) => reject(new Error(`strace ended with ${code}`)))
  })
  return {
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGINT')
      await ended
    },
  }
}
