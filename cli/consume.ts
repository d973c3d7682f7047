/** `tidemark consume`: records to lines. */
import type { Command } from 'commander'
import type { Consumer, Message, StartPosition, Tidemark } from '../client/index.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { wholeNumber } from './arguments.ts'
import { consumeAsMember } from './consume-group.ts'
import { parseConsumeFormat } from './consume-format.ts'
import { type OffsetBound, type OffsetRange, parseOffsetRange } from './consume-offset.ts'
import { type GlobalOptions, interruptSignal, withClient } from './context.ts'
import { write } from './output.ts'

interface ConsumeFlags {
  readonly offset?: string
  readonly partitions?: string
  readonly format?: string
  readonly num?: string
  readonly exitAtEnd?: boolean
  readonly follow?: boolean
  readonly group?: string
  readonly quiet?: boolean
}

type Bytes = Message<Buffer, Buffer>

export function addConsume(program: Command): void {
  program
    .command('consume <topics...>')
    .description('print the records of topics, and go on as new ones come')
    .option('--offset <range>', 'start, end, 5, +5, -5, 5:10, @time, @time:time (default: end, with -e start)')
    .option('-p, --partitions <numbers>', 'only these partitions, separated by commas')
    .option('-f, --format <format>', "such as '%t %p %o %k %v\\n'; also %T time, %h headers")
    .option('-n, --num <count>', 'stop after so many records')
    .option('-e, --exit-at-end', 'stop at the end as it is now')
    .option('-g, --group <group>', 'as a member of this group, from where it has come to; commits what is printed')
    .option('-q, --quiet', 'say nothing beside the records')
    .option('--follow', 'go on as new records come (the default without -e)')
    .action((topics: readonly string[], flags: ConsumeFlags, command: Command) => consume(topics, flags, command.optsWithGlobals()))
}

function consume(topics: readonly string[], flags: ConsumeFlags, options: GlobalOptions): Promise<void> {
  if (flags.exitAtEnd && flags.follow) throw new TidemarkError('USAGE', 'either --exit-at-end or --follow')
  if (flags.group !== undefined) return consumeInGroup(flags.group, topics, flags, options)
  const range = parseOffsetRange(flags.offset ?? (flags.exitAtEnd ? 'start' : 'end'), Date.now())
  const partitions = flags.partitions?.split(',').map((text) => wholeNumber(text.trim(), '--partitions'))
  const most = numberOf(flags.num)
  const render = rendererOf(flags.format, options)
  return withClient(options, async (tm) => {
    const consumer = await openConsumer(tm, { topics, partitions, signal: interruptSignal() }, range, flags.exitAtEnd ?? false)
    await print(consumer, most, render)
  })
}

/** `--offset` says where the group begins in partitions it has not committed anything of. */
function consumeInGroup(group: string, topics: readonly string[], flags: ConsumeFlags, options: GlobalOptions): Promise<void> {
  if (flags.partitions !== undefined || flags.exitAtEnd)
    throw new TidemarkError(
      'USAGE',
      'a group decides who reads what, and goes on for ever: --group goes with neither --partitions nor --exit-at-end',
    )
  const range = flags.offset === undefined ? undefined : parseOffsetRange(flags.offset, Date.now())
  if (range?.to !== undefined) throw new TidemarkError('USAGE', 'a group reads on for ever: --offset takes no end with --group')
  const most = numberOf(flags.num)
  const render = rendererOf(flags.format, options)
  return withClient(options, async (tm) => {
    const signal = interruptSignal()
    const start = range === undefined ? 'committed' : { offset: await resolve(tm, { topics, signal }, range.from, true) }
    const isQuiet = flags.quiet === true || options.output !== 'table'
    const print = (messages: readonly Bytes[]): Promise<void> => write(messages.map(render).join(''))
    await consumeAsMember(tm, { group, topics, start, most, signal, isQuiet, print })
  })
}

function numberOf(num: string | undefined): number {
  return num === undefined ? Number.POSITIVE_INFINITY : wholeNumber(num, '--num')
}

async function print(consumer: Consumer<Buffer, Buffer>, most: number, render: (message: Bytes) => string): Promise<void> {
  let left = most
  if (left === 0) return
  for await (const { messages } of consumer.batches()) {
    const wanted = messages.slice(0, left)
    await write(wanted.map(render).join(''))
    left -= wanted.length
    if (left <= 0) return
  }
}

function rendererOf(format: string | undefined, options: GlobalOptions): (message: Bytes) => string {
  if (format !== undefined) return parseConsumeFormat(format)
  switch (options.output) {
    case 'table':
      return (message) => `${message.value?.toString() ?? ''}\n`
    case 'json':
    case 'jsonl':
      return (message) => `${JSON.stringify(plain(message))}\n`
    case 'yaml':
      throw new TidemarkError('USAGE', 'consume prints lines, jsonl or a format of yours, not yaml')
  }
}

function plain(message: Bytes): object {
  const { topic, partition, offset, timestamp, key, value, headers } = message
  return {
    topic,
    partition,
    offset: Number(offset),
    timestamp,
    key: key?.toString() ?? null,
    value: value?.toString() ?? null,
    headers: Object.fromEntries([...headers].map(([name, header]) => [name, header?.toString() ?? null])),
  }
}

/** What is read, and what ends the asking for it. */
interface Reading {
  readonly topics: readonly string[]
  /** Undefined: all. */
  readonly partitions?: readonly number[] | undefined
  readonly signal: AbortSignal
}

async function openConsumer(tm: Tidemark, reading: Reading, range: OffsetRange, exitAtEnd: boolean): Promise<Consumer<Buffer, Buffer>> {
  const { topics, partitions, signal } = reading
  const to = range.to ?? (exitAtEnd ? ({ kind: 'end' } as const) : undefined)
  const start = await startOf(tm, reading, range.from)
  const end = to === undefined ? undefined : to.kind === 'end' ? 'now' : { offset: await resolve(tm, reading, to, exitAtEnd) }
  return tm.consumer<Buffer, Buffer>(topics, {
    start,
    ...(end !== undefined && { end }),
    ...(partitions !== undefined && { partitions }),
    signal,
  })
}

/** Begins and ends the consumer looks up itself, of the partitions it reads and of no others: those may be without a leader. */
async function startOf(tm: Tidemark, reading: Reading, from: OffsetBound): Promise<StartPosition> {
  if (from.kind === 'start') return 'earliest'
  if (from.kind === 'end') return 'latest'
  return { offset: await resolve(tm, reading, from, true) }
}

type OffsetOf = (topic: string, partition: number) => bigint

/** A bound as offsets, by asking where each partition that is read begins and ends; none beyond the end if `isWithinLog`. */
async function resolve({ admin }: Tidemark, reading: Reading, bound: OffsetBound, isWithinLog: boolean): Promise<OffsetOf> {
  const { topics, partitions, signal } = reading
  const asked = { signal, ...(partitions !== undefined && { partitions }) }
  const found = new Map<string, bigint>()
  for (const topic of topics) {
    const times = bound.kind === 'time' ? await admin.offsetsForTimestamp(topic, bound.timestampMs, asked) : []
    for (const { partition, earliest, highWatermark } of await admin.offsets(topic, asked)) {
      const atTime = times.find((one) => one.partition === partition)?.offset
      const offset = offsetOf(bound, earliest, highWatermark, atTime)
      found.set(`${partition} ${topic}`, isWithinLog && offset > highWatermark ? highWatermark : offset)
    }
  }
  return (topic, partition) => {
    const offset = found.get(`${partition} ${topic}`)
    if (offset === undefined) throw new TidemarkError('UNKNOWN_PARTITION', `topic ${topic} has no partition ${partition}`)
    return offset
  }
}

function offsetOf(bound: OffsetBound, earliest: bigint, highWatermark: bigint, atTime: bigint | undefined): bigint {
  switch (bound.kind) {
    case 'start':
      return earliest
    case 'end':
      return highWatermark
    case 'absolute':
      return bound.offset < earliest ? earliest : bound.offset
    case 'afterStart':
      return earliest + BigInt(bound.count)
    case 'beforeEnd': {
      const offset = highWatermark - BigInt(bound.count)
      return offset < earliest ? earliest : offset
    }
    case 'time':
      return atTime ?? highWatermark
  }
}
