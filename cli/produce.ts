/** `tidemark produce`: lines to records. */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import type { Acks, CompressionName, OutgoingRecord, Producer } from '../client/index.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { collect, pairOf, wholeNumber } from './arguments.ts'
import { type GlobalOptions, interruptSignal, withClient } from './context.ts'
import { note } from './output.ts'

interface ProduceFlags {
  readonly key?: string
  readonly keySeparator?: string
  readonly header: readonly string[]
  readonly file?: string
  readonly partition?: string
  readonly rate?: string
  readonly acks: string
  readonly compression: string
  readonly quiet?: boolean
}

export function addProduce(program: Command): void {
  program
    .command('produce <topic>')
    .description('send lines of standard input, or of a file, as records')
    .option('-k, --key <key>', 'the key of every record')
    .option('--key-separator <text>', 'what stands between key and value in a line')
    .option('-H, --header <name=value>', 'a header of every record; may be repeated', collect, [] as readonly string[])
    .option('-f, --file <path>', 'read this file instead of standard input')
    .option('-p, --partition <number>', 'the partition of every record, whatever its key')
    .option('--rate <count>', 'at most so many records a second')
    .option('--acks <acks>', 'all, leader or none', 'all')
    .option('--compression <codec>', 'none, gzip, zstd, lz4 or snappy', 'none')
    .option('-q, --quiet', 'no summary')
    .action((topic: string, flags: ProduceFlags, command: Command) => produce(topic, flags, command.optsWithGlobals()))
}

function produce(topic: string, flags: ProduceFlags, options: GlobalOptions): Promise<void> {
  const toRecord = recordMaker(flags)
  const pace = paceOf(flags.rate)
  return withClient(options, async (tm) => {
    const signal = interruptSignal()
    const acks = flags.acks as Acks
    const producer = tm.producer({ acks, idempotent: acks === 'all', compression: flags.compression as CompressionName })
    const startedMs = performance.now()
    const count = await sendLines(producer, topic, flags.file, toRecord, pace, signal)
    await producer.flush()
    const seconds = (performance.now() - startedMs) / 1000
    if (!flags.quiet) note(`${count} ${count === 1 ? 'record' : 'records'} sent to ${topic} in ${seconds.toFixed(2)} s`)
  })
}

async function sendLines(
  producer: Producer,
  topic: string,
  file: string | undefined,
  toRecord: (line: string) => OutgoingRecord<string, string>,
  pace: (count: number) => Promise<void>,
  signal: AbortSignal,
): Promise<number> {
  await producer.ready({ topic, signal })
  const input = file === undefined ? process.stdin : createReadStream(file)
  const failed = new Promise<never>((_, reject) =>
    input.once('error', (error: Error) =>
      reject(new TidemarkError('USAGE', `${file ?? 'standard input'} cannot be read: ${error.message}`, { cause: error })),
    ),
  )
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY, signal })
  const sent = (async () => {
    let count = 0
    for await (const line of lines) {
      const record = toRecord(line)
      while (!producer.enqueue<string, string>(topic, record)) await producer.ready({ topic, signal })
      count++
      await pace(count)
    }
    return count
  })()
  return Promise.race([sent, failed])
}

/** How a line becomes a record. */
export function recordMaker(
  flags: Pick<ProduceFlags, 'key' | 'keySeparator' | 'header' | 'partition'>,
): (line: string) => OutgoingRecord<string, string> {
  if (flags.key !== undefined && flags.keySeparator !== undefined) throw new TidemarkError('USAGE', 'either --key or --key-separator')
  const headers = Object.fromEntries(flags.header.map(pairOf))
  const common = {
    ...(flags.header.length > 0 && { headers }),
    ...(flags.partition !== undefined && { partition: wholeNumber(flags.partition, '--partition') }),
  }
  return (line) => {
    if (flags.keySeparator === undefined) return { ...common, value: line, ...(flags.key !== undefined && { key: flags.key }) }
    const at = line.indexOf(flags.keySeparator)
    if (at < 0)
      throw new TidemarkError('USAGE', `a line has no ${JSON.stringify(flags.keySeparator)}: ${JSON.stringify(line.slice(0, 80))}`)
    return { ...common, key: line.slice(0, at), value: line.slice(at + flags.keySeparator.length) }
  }
}

/** Waits so that no more than `rate` records a second go out. */
function paceOf(rate: string | undefined): (count: number) => Promise<void> {
  if (rate === undefined) return async () => {}
  const perSecond = wholeNumber(rate.replace(/\/s$/, ''), '--rate')
  if (perSecond === 0) throw new TidemarkError('USAGE', '--rate must be at least 1')
  const startedMs = performance.now()
  return async (count) => {
    const earlyMs = (count / perSecond) * 1000 - (performance.now() - startedMs)
    if (earlyMs > 1) await new Promise((resolve) => setTimeout(resolve, earlyMs))
  }
}
