/**
 * What LevelDB, which is native code, asks of the kernel: written down by `strace`, and read as calls to files.
 *
 * A call that takes a while stands there twice, when it begins and when it is over. What is written may be on the disk once the call has begun, what is synced
 * is there once it is over; names change when the call is over.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'

/** Paths are relative to the store's; '' is its own. */
export type Call =
  | { readonly kind: 'mkdir' | 'create' | 'open' | 'sync' | 'unlink'; readonly path: string }
  | { readonly kind: 'rename'; readonly path: string; readonly to: string }
  | { readonly kind: 'truncate'; readonly path: string; readonly sizeBytes: number }
  /** `position` undefined: where the last write ended. */
  | { readonly kind: 'write'; readonly path: string; readonly position: number | undefined; readonly bytes: Buffer }
  /** This was acknowledged. */
  | { readonly kind: 'acknowledged'; readonly text: string }

export interface Work {
  readonly seed: number
  /** How often the store is opened. */
  readonly sessions: number
  /** Calls to it in each. */
  readonly steps: number
}

const TRACED = 'openat,write,pwrite64,pwritev,fdatasync,fsync,rename,unlink,ftruncate,mkdir'
const STRING_BYTES_MAX = 64 * 1024 * 1024

/** Undefined: it can be done here. */
export function whyNoTrace(): string | undefined {
  const { status } = spawnSync('strace', ['-f', '-e', 'trace=none', 'true'])
  return status === 0 ? undefined : 'needs strace, and to be let use it'
}

/** Lets a store work, and returns what it asked of the kernel. */
export function traceWork({ seed, sessions, steps }: Work): Call[] {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-level-trace-'))
  try {
    const [trace, notes, store] = [join(directory, 'trace'), join(directory, 'notes'), join(directory, 'store')]
    const watch = ['-f', '-y', '-xx', '-s', String(STRING_BYTES_MAX), '-e', `trace=${TRACED}`, '-e', 'signal=none', '-o', trace]
    const child = [join(import.meta.dirname, 'level-child.ts'), store, notes, String(seed), String(sessions), String(steps)]
    const { status, stderr } = spawnSync('strace', [...watch, process.execPath, ...child], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`the store did not do its work: ${stderr}`)
    return [...callsIn(readFileSync(trace, 'latin1'), store, notes)]
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Calls as a small file, and back. */
export function packCalls(calls: readonly Call[]): Buffer {
  const lines = calls.map((call) => JSON.stringify('bytes' in call ? { ...call, bytes: call.bytes.toString('base64') } : call))
  return gzipSync(lines.join('\n'), { level: 9 })
}

export function unpackCalls(packed: Buffer): Call[] {
  return gunzipSync(packed)
    .toString('utf8')
    .split('\n')
    .map((line) => {
      const call = JSON.parse(line) as { readonly kind: Call['kind']; readonly bytes?: string }
      return (call.bytes === undefined ? call : { ...call, bytes: Buffer.from(call.bytes, 'base64') }) as Call
    })
}

/** LevelDB's own diary and lock say nothing. */
const IGNORED = /(^|\/)(LOG|LOG\.old|LOCK)$/

function* callsIn(trace: string, store: string, notes: string): Generator<Call> {
  const begun = new Map<string, string>()
  for (const line of trace.split('\n')) {
    const [, pid = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    const beginning = /^(.*) <unfinished \.\.\.>$/.exec(rest)?.[1]
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest)?.[1]
    if (beginning !== undefined) begun.set(pid, beginning)
    const isWrite = /^p?write/.test(beginning ?? begun.get(pid) ?? '')
    let text = rest
    // A write counts from its beginning on, everything else from its end.
    if (beginning !== undefined) text = isWrite ? `${beginning}) = 0` : ''
    else if (resumed !== undefined) text = isWrite ? '' : `${begun.get(pid)}${resumed}`
    if (resumed !== undefined) begun.delete(pid)
    const call = callOf(
      text,
      (path) => (path === store ? '' : path.startsWith(`${store}/`) ? path.slice(store.length + 1) : undefined),
      notes,
    )
    if (call !== undefined) yield call
  }
}

function callOf(text: string, inStore: (path: string) => string | undefined, notes: string): Call | undefined {
  const [, name = '', args = '', result = ''] = /^(\w+)\((.*)\)\s+= (.*)$/.exec(text) ?? []
  if (name === '' || result.startsWith('-')) return undefined
  const strings = [...args.matchAll(/"([^"]*)"/g)].map(([, hex = '']) => bytesOf(hex))
  const fileOf = (part: string): string => String(bytesOf(/^\d+<([^>]*)>/.exec(part)?.[1] ?? ''))
  const isByName = name === 'openat' || name === 'rename' || name === 'unlink' || name === 'mkdir'
  const file = name === 'openat' ? fileOf(result) : isByName ? String(strings[0]) : fileOf(args)
  if (file === notes && name === 'write') return { kind: 'acknowledged', text: String(strings[0]).trimEnd() }
  const path = inStore(file)
  if (path === undefined || IGNORED.test(path)) return undefined
  switch (name) {
    case 'openat':
      return { kind: args.includes('O_CREAT') ? 'create' : 'open', path }
    case 'write':
      return { kind: 'write', path, position: undefined, bytes: Buffer.concat(strings) }
    case 'pwrite64':
    case 'pwritev':
      return { kind: 'write', path, position: Number(/, (\d+)$/.exec(args)?.[1]), bytes: Buffer.concat(strings) }
    case 'ftruncate':
      return { kind: 'truncate', path, sizeBytes: Number(/, (\d+)$/.exec(args)?.[1]) }
    case 'rename':
      return { kind: 'rename', path, to: inStore(String(strings[1])) ?? '' }
    case 'unlink':
    case 'mkdir':
      return { kind: name, path }
    default:
      return { kind: 'sync', path }
  }
}

/** `\x41` for each byte; what is between them as it is. */
function bytesOf(text: string): Buffer {
  return Buffer.from(
    text.replaceAll(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  )
}
