/** `tidemark bench …`: how fast a cluster is, as this machine sees it. */
import type { Command } from 'commander'
import type { CompressionName, Durability, Tidemark } from '../client/index.ts'
import { parseDuration, parseSize } from '../protocol/units.ts'
import { wholeNumber } from './arguments.ts'
import { type GlobalOptions, interruptSignal, withClient } from './context.ts'
import { printOne, type Row } from './output.ts'
import { startProgress } from './progress.ts'

interface BenchFlags {
  readonly topic: string
  readonly keep?: boolean
  readonly records: string
  readonly size: string
  readonly partitions: string
  readonly durability: string
  readonly compression: string
  readonly batch: string
  readonly rate: string
  readonly duration: string
}

type Bench = (tm: Tidemark, flags: BenchFlags, signal: AbortSignal) => Promise<Row>

const BENCHES: Readonly<Record<string, { readonly text: string; readonly run: Bench }>> = {
  produce: { text: 'records and megabytes a second, sent and acknowledged', run: produce },
  consume: { text: 'records and megabytes a second, read from the start', run: consume },
  e2e: { text: 'time from send to receipt, at a fixed rate', run: endToEnd },
}

export function addBench(program: Command): void {
  const bench = program.command('bench').description('measure throughput and latency')
  for (const [name, { text, run }] of Object.entries(BENCHES)) {
    bench
      .command(name)
      .description(text)
      .option('--topic <name>', 'the topic to use; made for the purpose and deleted afterwards', `bench-${process.pid}`)
      .option('--keep', 'use the topic if it exists, and do not delete it')
      .option('--records <count>', 'records', '200000')
      .option('--size <size>', 'bytes of a value', '1KiB')
      .option('-p, --partitions <count>', 'partitions', '1')
      .option('--durability <durability>', 'fsync, replicated or none', 'fsync')
      .option('--compression <codec>', 'none, gzip, zstd, lz4 or snappy', 'none')
      .option('--batch <size>', 'bytes of a batch', '256KiB')
      .option('--rate <count>', 'records a second (e2e)', '1000')
      .option('--duration <duration>', 'how long (e2e)', '10s')
      .action((flags: BenchFlags, command: Command) => measure(run, flags, command.optsWithGlobals()))
  }
}

function measure(run: Bench, flags: BenchFlags, options: GlobalOptions): Promise<void> {
  return withClient(options, async (tm) => {
    const signal = interruptSignal()
    const isOurs = await prepare(tm, flags)
    try {
      await printOne(await run(tm, flags, signal), options.output)
    } finally {
      if (isOurs) await tm.admin.deleteTopic(flags.topic)
    }
  })
}

/** Creates the topic; true when it is ours to delete. */
async function prepare(tm: Tidemark, flags: BenchFlags): Promise<boolean> {
  const present = (await tm.admin.listTopics()).some((topic) => topic.name === flags.topic)
  if (present && flags.keep) return false
  await tm.admin.createTopic(flags.topic, {
    partitions: wholeNumber(flags.partitions, '--partitions'),
    durability: flags.durability as Durability,
  })
  return !flags.keep
}

async function produce(tm: Tidemark, flags: BenchFlags, signal: AbortSignal): Promise<Row> {
  const total = wholeNumber(flags.records, '--records')
  const value = randomBytes(parseSize(flags.size, '--size'))
  await using producer = tm.producer({ compression: flags.compression as CompressionName, batchBytes: flags.batch })
  await producer.ready({ topic: flags.topic, signal })
  const progress = await startProgress('produce', total)
  const startedMs = performance.now()
  for (let count = 0; count < total; count++) {
    while (!producer.enqueue(flags.topic, { value })) {
      await producer.ready({ signal })
      progress.update(count)
    }
  }
  await producer.flush({ signal })
  progress.stop()
  return throughput(total, total * value.length, performance.now() - startedMs)
}

async function consume(tm: Tidemark, flags: BenchFlags, signal: AbortSignal): Promise<Row> {
  if (!flags.keep) await produce(tm, flags, signal)
  const progress = await startProgress('consume', wholeNumber(flags.records, '--records'))
  let count = 0
  let bytes = 0
  const startedMs = performance.now()
  for await (const { messages } of tm.consumer(flags.topic, { start: 'earliest', end: 'now', signal }).batches()) {
    count += messages.length
    for (const message of messages) bytes += message.raw?.length ?? 0
    progress.update(count)
  }
  progress.stop()
  return throughput(count, bytes, performance.now() - startedMs)
}

/** Each record carries the time at which it was due, not the time at which it was sent: a sender that falls behind shows in the numbers. */
async function endToEnd(tm: Tidemark, flags: BenchFlags, signal: AbortSignal): Promise<Row> {
  const { build } = await import('hdr-histogram-js')
  const histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 })
  const perSecond = wholeNumber(flags.rate, '--rate')
  const total = Math.round((perSecond * parseDuration(flags.duration, '--duration')) / 1000)
  const padding = randomBytes(Math.max(0, parseSize(flags.size, '--size') - 8))
  const consumer = tm.consumer(flags.topic, { start: 'latest', signal })
  await consumer.positions()
  const progress = await startProgress('e2e', total)
  const received = (async () => {
    let count = 0
    for await (const { messages } of consumer.batches()) {
      const nowMs = performance.now()
      for (const message of messages)
        histogram.recordValue(Math.max(1, Math.round((nowMs - (message.raw as Buffer).readDoubleBE(0)) * 1000)))
      count += messages.length
      progress.update(count)
      if (count >= total) return
    }
  })()
  const startedMs = performance.now()
  const sends: Promise<unknown>[] = []
  for (let count = 0; count < total && !signal.aborted; count++) {
    const dueMs = startedMs + (count / perSecond) * 1000
    const earlyMs = dueMs - performance.now()
    if (earlyMs > 0.5) await new Promise((resolve) => setTimeout(resolve, earlyMs))
    const due = Buffer.alloc(8)
    due.writeDoubleBE(dueMs)
    sends.push(tm.producer().send(flags.topic, { value: Buffer.concat([due, padding]) }))
  }
  await Promise.all(sends)
  await received
  progress.stop()
  const ms = (percentile: number): number => histogram.getValueAtPercentile(percentile) / 1000
  return {
    records: total,
    'rate per s': perSecond,
    'p50 ms': ms(50),
    'p90 ms': ms(90),
    'p99 ms': ms(99),
    'p99.9 ms': ms(99.9),
    'max ms': histogram.maxValue / 1000,
  }
}

function throughput(records: number, bytes: number, elapsedMs: number): Row {
  const seconds = elapsedMs / 1000
  return {
    records,
    seconds: Number(seconds.toFixed(3)),
    'records per s': Math.round(records / seconds),
    'MB per s': Number((bytes / 1e6 / seconds).toFixed(1)),
  }
}

/** Incompressible, so that compression shows its cost and not its luck. */
function randomBytes(count: number): Buffer {
  return Buffer.from(Array.from({ length: count }, () => Math.floor(Math.random() * 256)))
}
