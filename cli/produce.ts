/** `tidemark produce`: lines to records. */
import { createReadStream } from 'node:fs'
import { type Command, Option } from 'commander'
import type { Acks, CompressionName, OutgoingRecord, Producer } from '../client/index.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { ACKS, collect, COMPRESSIONS, durationOf, pairOf, plural, wholeNumber } from './arguments.ts'
import { type GlobalOptions, interruptSignal, withClient } from './context.ts'
import { splitLines } from './lines.ts'
import { note } from './output.ts'

interface ProduceFlags {
  readonly key?: string
  readonly keySeparator?: string
  readonly header?: readonly string[]
  readonly file?: string
  readonly partition?: string
  readonly rate?: string
  readonly acks: Acks
  readonly deliveryTimeout: string
  readonly compression: CompressionName
  readonly quiet?: boolean
}

export function addProduce(program: Command): void {
  program
    .command('produce <topic>')
    .description('send lines of standard input, or of a file, as records')
    .option('-k, --key <key>', 'the key of every record')
    .option('--key-separator <text>', 'what stands between key and value in a line')
    .option('-H, --header <name=value>', 'a header of every record; may be repeated', collect)
    .option('-f, --file <path>', 'read this file instead of standard input')
    .option('-p, --partition <number>', 'the partition of every record, whatever its key')
    .option('--delivery-timeout <duration>', 'give a record up that is not acknowledged by then', '2m')
    .option('--rate <count>', 'at most so many records a second')
    .addOption(new Option('--acks <acks>', 'when a record counts as sent').choices(ACKS).default('all'))
    .addOption(new Option('--compression <codec>', 'how batches are compressed').choices(COMPRESSIONS).default('none'))
    .option('-q, --quiet', 'no summary')
    .action((topic: string, flags: ProduceFlags, command: Command) => produce(topic, flags, command.optsWithGlobals()))
}

function produce(topic: string, flags: ProduceFlags, options: GlobalOptions): Promise<void> {
  const toRecord = recordMaker(flags)
  const pace = paceOf(flags.rate)
  const { acks, compression } = flags
  const deliveryTimeout = durationOf(flags.deliveryTimeout, '--delivery-timeout')
  return withClient(options, async (tm) => {
    const signal = interruptSignal()
    const producer = tm.producer({ acks, idempotent: acks === 'all', compression, deliveryTimeout })
    const startedMs = performance.now()
    let count = 0
    await producer.ready({ topic, signal })
    for await (const lines of splitLines(readInput(flags.file, signal))) {
      for (const line of lines) {
        await offer(producer, topic, toRecord(line, count + 1), signal)
        await pace(++count)
      }
    }
    await producer.flush({ signal })
    const seconds = (performance.now() - startedMs) / 1000
    if (!flags.quiet) note(`${plural(count, 'record')} sent to ${topic} in ${seconds.toFixed(2)} s`)
  })
}

async function offer(producer: Producer, topic: string, record: OutgoingRecord<Buffer, Buffer>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  while (!producer.enqueue(topic, record)) await producer.ready({ topic, signal })
}

/** Throws `USAGE` for what cannot be read, `CANCELLED` after an interrupt, also while nothing comes. */
async function* readInput(file: string | undefined, signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  const input = file === undefined ? process.stdin : createReadStream(file)
  const stop = (): void => void input.destroy(new TidemarkError('CANCELLED', 'interrupted'))
  signal.addEventListener('abort', stop, { once: true })
  try {
    for await (const chunk of input) yield chunk as Buffer
  } catch (error) {
    if (TidemarkError.is(error)) throw error
    throw new TidemarkError(
      'USAGE',
      `${file ?? 'standard input'} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
      },
    )
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** How a line, the n-th, becomes a record. */
export function recordMaker(
  flags: Pick<ProduceFlags, 'key' | 'keySeparator' | 'header' | 'partition'>,
): (line: Buffer, number: number) => OutgoingRecord<Buffer, Buffer> {
  if (flags.key !== undefined && flags.keySeparator !== undefined) throw new TidemarkError('USAGE', 'either --key or --key-separator')
  if (flags.keySeparator === '') throw new TidemarkError('USAGE', '--key-separator is empty')
  const common = {
    ...(flags.header !== undefined && { headers: Object.fromEntries(flags.header.map(pairOf)) }),
    ...(flags.partition !== undefined && { partition: wholeNumber(flags.partition, '--partition') }),
    ...(flags.key !== undefined && { key: Buffer.from(flags.key) }),
  }
  if (flags.keySeparator === undefined) return (value) => ({ ...common, value })
  const separator = Buffer.from(flags.keySeparator)
  return (line, number) => {
    const at = line.indexOf(separator)
    if (at < 0)
      throw new TidemarkError(
        'USAGE',
        `line ${number} has no ${JSON.stringify(flags.keySeparator)}: ${JSON.stringify(line.toString('utf8', 0, 80))}`,
      )
    return { ...common, key: line.subarray(0, at), value: line.subarray(at + separator.length) }
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
