/** Network namespaces and devices: how they are named and made, and how they go, whoever left them. */
import { execFileSync } from 'node:child_process'

/** Reserved for measuring networks: nobody lives here. */
const NETWORK = '198.18'
export const NETWORK_AS_CIDR = `${NETWORK}.0.0/16`
const OURS = /\btmc(\d+)-(?:b|\d+)\b/g

function run(tool: string, options: readonly string[], lines: readonly string[]): void {
  if (lines.length > 0)
    execFileSync(tool, [...options, '-batch', '-'], { input: `${lines.join('\n')}\n`, stdio: ['pipe', 'ignore', 'pipe'] })
}

export function ip(...lines: readonly string[]): void {
  run('ip', [], lines)
}

export function ipIn(namespace: string, ...lines: readonly string[]): void {
  run('ip', ['-n', namespace], lines)
}

export function tc(...lines: readonly string[]): void {
  run('tc', [], lines)
}

export function freeSubnet(): string {
  const taken = execFileSync('ip', ['-o', '-4', 'addr'], { encoding: 'utf8' })
  const free = Array.from({ length: 256 }, (_, at) => `${NETWORK}.${at}`).find((subnet) => !taken.includes(` ${subnet}.`))
  if (free === undefined) throw new Error(`every network of ${NETWORK} is taken`)
  return free
}

export function prefixOf(pid: number): string {
  return `tmc${pid}-`
}

/** Namespaces and devices with names like ours, and the processes that made them. */
function ours(): ReadonlyMap<string, number> {
  const text = ['netns', 'link'].map((what) => execFileSync('ip', ['-o', what], { encoding: 'utf8' })).join('\n')
  return new Map([...text.matchAll(OURS)].map(([name, pid]) => [name, Number(pid)]))
}

/** Everything that a process made, and what runs in it. */
export function removeOf(pid: number, all = ours()): void {
  for (const [name, owner] of all) if (owner === pid) remove(name)
}

/** Of runs whose process is no more: what they started in their namespaces ends with them. */
export function removeLeftovers(): void {
  const all = ours()
  for (const pid of new Set(all.values())) if (!isAlive(pid)) removeOf(pid, all)
}

/** The name may be of a namespace, of a device, or of both. */
function remove(name: string): void {
  const inside = attempt(() => execFileSync('ip', ['netns', 'pids', name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))
  for (const pid of inside?.split('\n').filter((line) => line !== '') ?? []) attempt(() => process.kill(Number(pid), 'SIGKILL'))
  attempt(() => execFileSync('ip', ['link', 'del', name], { stdio: 'ignore' }))
  attempt(() => execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' }))
}

function attempt<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch {
    return undefined
  }
}

function isAlive(pid: number): boolean {
  return attempt(() => process.kill(pid, 0)) !== undefined
}
