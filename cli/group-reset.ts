/** `tidemark group reset`: a preview, the change, and how to undo it. */
import type { Command } from 'commander'
import type { ResetResult, ResetTarget, Tidemark } from '../client/index.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { collect, quoted, wholeNumber } from './arguments.ts'
import { parseOffsetRange } from './consume-offset.ts'
import { type GlobalOptions, withClient } from './context.ts'
import { note, printRows } from './output.ts'
import { confirm } from './prompt.ts'

export interface Selection {
  readonly topic: string
  readonly partitions: readonly number[]
}

interface ResetFlags {
  readonly to: string
  readonly topic: readonly string[]
  readonly dryRun?: boolean
}

export function addGroupReset(group: Command): void {
  group
    .command('reset <group>')
    .description('let a group go on from other offsets; its members, if it has any, begin again there')
    .requiredOption('--to <target>', 'earliest, latest, @time, +n, -n, an offset, or topic:partition=offset,…')
    .option(
      '--topic <topic[:partitions]>',
      'only this topic, such as orders or orders:0,2; may be repeated',
      collect,
      [] as readonly string[],
    )
    .option('--dry-run', 'show what would be, change nothing')
    .action((name: string, flags: ResetFlags, command: Command) => reset(name, flags, command.optsWithGlobals()))
}

async function reset(name: string, flags: ResetFlags, options: GlobalOptions): Promise<void> {
  const target = parseTarget(flags.to, Date.now())
  const topics = flags.topic.map(selectionOf)
  await withClient(options, async (tm) => {
    const wanted = typeof target === 'object' && 'all' in target ? await everywhere(tm, name, target.all, topics) : target
    const preview = await tm.admin.groups.resetOffsets(name, wanted, { topics, dryRun: true })
    if (preview.length === 0)
      throw new TidemarkError('GROUP_ID_NOT_FOUND', `group ${name} has no partitions to reset: name topics with --topic`)
    if (flags.dryRun) {
      await print(preview, options)
      note('nothing was changed (--dry-run)')
      throwFirst(preview)
      return
    }
    if (!options.yes && process.stdin.isTTY) await print(preview, options)
    await confirm(`Set ${preview.length} partitions of ${name}`, options)
    const results = await tm.admin.groups.resetOffsets(name, wanted, { topics })
    await print(results, options)
    for (const line of undoOf(name, results)) note(line)
    throwFirst(results)
  })
}

function throwFirst(results: readonly ResetResult[]): void {
  const failed = results.find(({ error }) => error !== undefined)
  if (failed?.error !== undefined) throw failed.error
}

/** What `--to` says; `all`: this offset in every partition. Throws `USAGE`. */
export function parseTarget(text: string, nowMs: number): Exclude<ResetTarget, { group: string }> | { readonly all: bigint } {
  if (text === 'earliest' || text === 'start') return 'earliest'
  if (text === 'latest' || text === 'end') return 'latest'
  if (/^[+-]\d+$/.test(text)) return { shift: Number(text) }
  if (/^\d+$/.test(text)) return { all: BigInt(text) }
  if (text.startsWith('@')) {
    const { from, to } = parseOffsetRange(text, nowMs)
    if (from.kind === 'time' && to === undefined) return { at: from.timestampMs }
  }
  const named = text.split(',').map((part) => /^(.+):(\d+)=(\d+)$/.exec(part))
  if (named.every((match) => match !== null))
    return {
      offsets: named.map(([, topic = '', partition = '', offset = '']) => ({
        topic,
        partition: Number(partition),
        offset: BigInt(offset),
      })),
    }
  throw new TidemarkError(
    'USAGE',
    `${JSON.stringify(text)} is no place to go to: use earliest, latest, @time, +n, -n, an offset, or topic:partition=offset,…`,
  )
}

/** `orders` or `orders:0,2`. */
export function selectionOf(text: string): Selection {
  const [topic = '', partitions = ''] = text.split(':')
  return { topic, partitions: partitions === '' ? [] : partitions.split(',').map((one) => wholeNumber(one.trim(), '--topic')) }
}

/** Which partitions that is, a dry run tells. */
async function everywhere({ admin }: Tidemark, name: string, offset: bigint, topics: readonly Selection[]): Promise<ResetTarget> {
  const partitions = await admin.groups.resetOffsets(name, 'earliest', { topics, dryRun: true })
  return { offsets: partitions.map(({ topic, partition }) => ({ topic, partition, offset })) }
}

async function print(results: readonly ResetResult[], options: GlobalOptions): Promise<void> {
  await printRows(
    results.map(({ topic, partition, previous, offset, isClamped, memberId, error }) => ({
      topic,
      partition,
      from: previous ?? null,
      to: error === undefined ? offset : null,
      ...(results.some((one) => one.isClamped) && { clamped: isClamped }),
      member: memberId || null,
      ...(results.some((one) => one.error !== undefined) && { error: error?.code ?? null }),
    })),
    options.output,
  )
}

/** The commands that bring back what was. */
export function undoOf(name: string, results: readonly ResetResult[]): string[] {
  const changed = results.filter(({ error, previous, offset }) => error === undefined && previous !== offset)
  const moved = changed.filter(({ previous }) => previous !== undefined)
  const made = Map.groupBy(
    changed.filter(({ previous }) => previous === undefined),
    ({ topic }) => topic,
  )
  const group = quoted(name)
  const lines: string[] = []
  if (moved.length > 0) {
    const offsets = moved.map(({ topic, partition, previous }) => `${topic}:${partition}=${previous}`).join(',')
    lines.push(`undo: tidemark group reset ${group} --to ${offsets} --yes`)
  }
  if (made.size > 0) {
    const topics = [...made].map(([topic, ones]) => `--topic ${topic}:${ones.map(({ partition }) => partition).join(',')}`).join(' ')
    lines.push(`undo: tidemark group delete ${group} ${topics} --yes`)
  }
  return lines
}
