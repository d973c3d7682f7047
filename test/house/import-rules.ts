/** Who may import whom: the truth behind the arrows of docs/ARCHITECTURE.md. Type-only imports obey the same rules. */
import { posix } from 'node:path'
import type { Finding, Import, Source } from './source.ts'

interface Room {
  /** Other rooms it may import. */
  readonly rooms: readonly string[]
  /** Packages it may import. `*` is any. */
  readonly packages: readonly string[]
}

export const ROOMS: Readonly<Record<string, Room>> = {
  runtime: { rooms: [], packages: [] },
  protocol: { rooms: ['runtime'], packages: ['@bufbuild/protobuf', '@grpc/grpc-js', 'lz4js', 'murmurhash3js', 'snappyjs'] },
  log: { rooms: ['protocol', 'runtime'], packages: [] },
  controller: { rooms: ['protocol', 'runtime'], packages: ['@grpc/grpc-js', 'level'] },
  broker: { rooms: ['log', 'controller', 'protocol', 'runtime'], packages: ['@grpc/grpc-js', 'pino', 'prom-client', 're2js'] },
  client: { rooms: ['protocol', 'runtime'], packages: ['@grpc/grpc-js'] },
  cli: { rooms: ['client', 'protocol', 'runtime', 'broker', 'log'], packages: ['*'] },
  testing: { rooms: ['broker', 'client', 'controller', 'protocol', 'runtime'], packages: [] },
  scripts: { rooms: ['runtime', 'protocol', 'log', 'controller', 'broker', 'client', 'cli', 'testing'], packages: ['*'] },
  test: { rooms: ['runtime', 'protocol', 'log', 'controller', 'broker', 'client', 'cli', 'testing', 'scripts'], packages: ['*'] },
}

interface Narrowing {
  readonly from: RegExp
  readonly to: RegExp
  /** Imports of that kind which are right all the same. */
  readonly unless?: (entry: Import, path: string) => boolean
  readonly why: string
}

/** Work on a data directory without a node. */
const OFFLINE = /^cli\/(log|temporary-data)\.ts$/

const SERVER_COMMANDS = /^cli\/(serve|dev|run-node|node-options|config)\.ts$/
const IO_BUILTINS = /^node:(fs|fs\/promises|timers|timers\/promises|perf_hooks|child_process|worker_threads|os)$/
const NETWORK_BUILTINS = /^node:(net|tls|http|http2|https|dgram|dns|dns\/promises)$/

/** What holds inside the rooms, beyond the table. `to` is a path of the project or the name of a package. */
const NARROWINGS: readonly Narrowing[] = [
  { from: /^controller\/raft\//, to: /^(?!controller\/raft\/)/, why: 'the consensus core imports nothing but itself' },
  {
    from: /^(controller\/metadata\/|broker\/replication\/follower\.ts|broker\/groups\/(assign|group-(records|state)|lag|member|offsets\.|partition-keys|reconcile|sessions|topic-view|uniform))/,
    to: /^(node:|@|level|log\/|runtime\/(?!invariant)|broker\/(?!groups\/))/,
    why: 'a sans-I/O file takes inputs and returns outputs; whatever reads, writes or waits belongs to its caller',
  },
  { from: /^(protocol|log|controller|broker|client)\//, to: IO_BUILTINS, why: 'files, clocks, timers and processes come from the Runtime' },
  { from: /^(protocol|log|controller)\//, to: NETWORK_BUILTINS, why: 'this room knows no network' },
  {
    from: /^(protocol|log|controller|broker|client)\//,
    to: /^node:crypto$/,
    unless: (entry) => entry.names.length > 0 && !entry.names.some((name) => name.startsWith('random')),
    why: 'random bytes come from random.bytes of the Runtime',
  },
  { from: /^controller\/(?!level-raft-store\.ts)/, to: /^level$/, why: 'only controller/level-raft-store.ts knows the store' },
  { from: /^broker\/operations\//, to: /^broker\/transport\//, why: 'an operation does not know who carries it' },
  {
    from: /^(?!runtime\/|test\/|testing\/|scripts\/|cli\/|broker\/server\.ts|client\/connect\.ts)/,
    to: /^runtime\/node/,
    why: 'only the composition roots touch the real world: take a Runtime',
  },
  {
    from: /^cli\//,
    to: /^(broker|log)\//,
    unless: ({ isDynamic, isTypeOnly }, path) => (isDynamic || isTypeOnly) && (SERVER_COMMANDS.test(path) || OFFLINE.test(path)),
    why: 'a command that only talks to a cluster must not load a server: only serve, dev and config reach broker/ and only cli/log.ts and cli/temporary-data.ts log/, by import()',
  },
  { from: /^cli\/(?!(log|temporary-data)\.ts)/, to: /^log\//, why: 'only cli/log.ts and cli/temporary-data.ts touch a data directory' },
  { from: OFFLINE, to: /^broker\//, why: 'what works on a data directory works offline' },
]

export function checkImports(source: Source): Finding[] {
  return source.imports.flatMap((entry) => {
    const to = targetOf(source.path, entry.specifier)
    const why = tableObjection(source.path, to) ?? narrowingObjection(source.path, to, entry)
    return why === undefined ? [] : [{ path: source.path, line: entry.line, message: `imports ${to}: ${why}` }]
  })
}

/** Where an import leads: a path of the project, or what stands there for a package or a part of Node. */
export function targetOf(path: string, specifier: string): string {
  return specifier.startsWith('.') ? posix.join(posix.dirname(path), specifier) : specifier
}

function tableObjection(path: string, to: string): string | undefined {
  const from = path.split('/')[0] ?? ''
  const room = ROOMS[from]
  if (room === undefined || to.startsWith('node:')) return undefined
  const target = to.split('/')[0] ?? ''
  if (target === from || room.rooms.includes(target)) return undefined
  if (target in ROOMS) return `${from}/ may import ${room.rooms.join(', ') || 'no other room'}`
  if (room.packages.includes('*') || room.packages.some((name) => to === name || to.startsWith(`${name}/`))) return undefined
  return `${from}/ may import ${room.packages.length === 0 ? 'no package' : `of packages only ${room.packages.join(', ')}`}`
}

function narrowingObjection(path: string, to: string, entry: Import): string | undefined {
  return NARROWINGS.find((rule) => rule.from.test(path) && rule.to.test(to) && !rule.unless?.(entry, path))?.why
}

/** Every ring of imports, type-only ones included. What is loaded by `import()` when it is used is no part of a ring. */
export function checkCycles(sources: readonly Source[]): Finding[] {
  const targets = new Map(sources.map((source) => [source.path, targetsOf(source)]))
  const findings: Finding[] = []
  const done = new Set<string>()
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path)
    if (start >= 0)
      findings.push({
        path,
        line: 1,
        message: `imports itself in a ring: ${[...trail.slice(start), path].join(' → ')}; move what both need into a file of its own`,
      })
    if (start >= 0 || done.has(path)) return
    for (const next of targets.get(path) ?? []) visit(next, [...trail, path])
    done.add(path)
  }
  for (const path of targets.keys()) visit(path, [])
  return findings
}

function targetsOf(source: Source): ReadonlySet<string> {
  return new Set(source.imports.filter((entry) => !entry.isDynamic).map((entry) => targetOf(source.path, entry.specifier)))
}
