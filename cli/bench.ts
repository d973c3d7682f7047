/** `tidemark bench …`: how fast a cluster is, as this machine sees it. */
import { randomBytes } from 'node:crypto'
import { type Command, Option } from 'commander'
import type { Histogram } from 'hdr-histogram-js'
import type { CompressionName, Durability, Tidemark } from '../client/index.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { COMPRESSIONS, DURABILITIES, durationOf, sizeOf, wholeNumber } from './arguments.ts'
import { type GlobalOptions, interruptSignal, withClient } from './context.ts'
import { printOne, type Row } from './output.ts'
import { startProgress } from './progress.ts'

interface BenchFlags {
  readonly topic: string
  readonly keep?: boolean
  readonly records: string
  readonly size: string
  readonly partitions: string
  readonly durability: Durability
  readonly compression: CompressionName
  readonly batch: string
  readonly rate: string
  readonly duration: string
}

/** Of how many records one is timed. */
const SAMPLE_EVERY = 100
/** Longer ones count as this. */
const LATENCY_MAX_US = 600_000_000

type Bench = (tm: Tidemark, flags: BenchFlags, signal: AbortSignal, topic: BenchTopic) => Promise<Row>

interface BenchTopic {
  /** It was there before, with whatever it holds. */
  readonly isPresent: boolean
}

const BENCHES: Readonly<Record<string, { readonly text: string; readonly run: Bench }>> = {
  produce: { text: 'records and megabytes a second, sent and acknowledged, and how long that took', run: produce },
  consume: { text: 'records and megabytes a second, read from the start', run: consume },
  e2e: { text: 'time from send to receipt, at a fixed rate', run: endToEnd },
}

export function addBench(program: Command): void {
  const bench = program.command('bench').description('measure throughput and latency')
  for (const [name, { text, run }] of Object.entries(BENCHES)) {
    const command = bench
      .command(name)
      .description(text)
      .option('--topic <name>', 'the topic to use; made for the purpose and deleted afterwards', `bench-${process.pid}`)
      .option('--keep', 'use the topic if it exists, and do not delete it')
      .option('--size <size>', 'bytes of a value', '1KiB')
      .option('-p, --partitions <count>', 'partitions', '1')
      .addOption(new Option('--durability <durability>', 'when a record counts as written').choices(DURABILITIES).default('fsync'))
      .addOption(new Option('--compression <codec>', 'how batches are compressed').choices(COMPRESSIONS).default('none'))
      .option('--batch <size>', 'bytes of a batch', '256KiB')
      .action((flags: BenchFlags, command: Command) => measure(run, flags, command.optsWithGlobals()))
    if (run === endToEnd)
      command.option('--rate <count>', 'records a second', '1000').option('--duration <duration>', 'how long to send', '10s')
    else command.option('--records <count>', 'how many records', '200000')
  }
}

function measure(run: Bench, flags: BenchFlags, options: GlobalOptions): Promise<void> {
  return withClient(options, async (tm) => {
    const signal = interruptSignal()
    const topic = await prepare(tm, flags, signal)
    try {
      await printOne(await run(tm, flags, signal, topic), options.output)
    } finally {
      if (!flags.keep) await tm.admin.deleteTopic(flags.topic)
    }
  })
}

/** Creates the topic, unless it is there and may be used. */
async function prepare(tm: Tidemark, flags: BenchFlags, signal: AbortSignal): Promise<BenchTopic> {
  const isPresent = (await tm.admin.listTopics({ signal })).some((topic) => topic.name === flags.topic)
  if (isPresent && flags.keep) return { isPresent }
  await tm.admin.createTopic(flags.topic, {
    partitions: wholeNumber(flags.partitions, '--partitions'),
    durability: flags.durability,
    signal,
  })
  return { isPresent: false }
}

/** As fast as the producer takes them. Of every hundredth record the time until it was acknowledged is taken. */
async function produce(tm: Tidemark, flags: BenchFlags, signal: AbortSignal): Promise<Row> {
  const histogram = await createHistogram()
  const total = recordCount(flags)
  const value = randomBytes(sizeOf(flags.size, '--size'))
  await using producer = tm.producer({ compression: flags.compression, batchBytes: sizeOf(flags.batch, '--batch') })
  await producer.ready({ topic: flags.topic, signal })
  const progress = await startProgress('produce', total)
  const sampled: Promise<void>[] = []
  const startedMs = performance.now()
  for (let count = 0; count < total; count++) {
    if (count % SAMPLE_EVERY === 0) {
      const sentMs = performance.now()
      const sample = producer.send(flags.topic, { value }, { signal }).then(() => record(histogram, performance.now() - sentMs))
      sample.catch(() => {}) // told below
      sampled.push(sample)
      continue
    }
    while (!producer.enqueue(flags.topic, { value })) {
      await producer.ready({ topic: flags.topic, signal })
      progress.update(count)
    }
  }
  await producer.flush({ signal })
  await Promise.all(sampled)
  progress.stop()
  return { ...throughput(total, total * value.length, performance.now() - startedMs), ...latencies(histogram) }
}

function recordCount(flags: BenchFlags): number {
  const total = wholeNumber(flags.records, '--records')
  if (total === 0) throw new TidemarkError('USAGE', '--records must be at least 1')
  return total
}

/** Of a topic that was there before everything is read, of a new one what was just sent. */
async function consume(tm: Tidemark, flags: BenchFlags, signal: AbortSignal, { isPresent }: BenchTopic): Promise<Row> {
  if (!isPresent) await produce(tm, flags, signal)
  const offsets = await tm.admin.offsets(flags.topic, { signal })
  const total = offsets.reduce((sum, { earliest, highWatermark }) => sum + Number(highWatermark - earliest), 0)
  const progress = await startProgress('consume', total)
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
  const histogram = await createHistogram()
  const perSecond = wholeNumber(flags.rate, '--rate')
  const total = Math.round((perSecond * durationOf(flags.duration, '--duration')) / 1000)
  if (total === 0) throw new TidemarkError('USAGE', '--rate and --duration leave nothing to send')
  const consumer = tm.consumer(flags.topic, { start: 'latest', signal })
  await consumer.positions()
  const progress = await startProgress('e2e', total)
  const receive = async (): Promise<void> => {
    let count = 0
    for await (const { messages } of consumer.batches()) {
      const nowMs = performance.now()
      for (const { raw } of messages) record(histogram, nowMs - (raw as Buffer).readDoubleBE(0))
      count += messages.length
      progress.update(count)
      if (count >= total) return
    }
  }
  await Promise.all([receive(), sendAtRate(tm, flags, { total, perSecond }, signal)])
  progress.stop()
  return { records: total, recordsPerSecond: perSecond, ...latencies(histogram) }
}

async function sendAtRate(
  tm: Tidemark,
  flags: BenchFlags,
  { total, perSecond }: { readonly total: number; readonly perSecond: number },
  signal: AbortSignal,
): Promise<void> {
  const producer = tm.producer({ compression: flags.compression, batchBytes: sizeOf(flags.batch, '--batch') })
  const padding = randomBytes(Math.max(0, sizeOf(flags.size, '--size') - 8))
  const startedMs = performance.now()
  for (let count = 0; count < total; count++) {
    const dueMs = startedMs + (count / perSecond) * 1000
    const earlyMs = dueMs - performance.now()
    if (earlyMs > 0.5) await new Promise((resolve) => setTimeout(resolve, earlyMs))
    const due = Buffer.alloc(8)
    due.writeDoubleBE(dueMs)
    while (!producer.enqueue(flags.topic, { value: Buffer.concat([due, padding]) })) await producer.ready({ topic: flags.topic, signal })
  }
  await producer.flush({ signal })
}

async function createHistogram(): Promise<Histogram> {
  const { build } = await import('hdr-histogram-js')
  return build({ lowestDiscernibleValue: 1, highestTrackableValue: LATENCY_MAX_US, numberOfSignificantValueDigits: 3 })
}

function record(histogram: Histogram, latencyMs: number): void {
  histogram.recordValue(Math.min(LATENCY_MAX_US, Math.max(1, Math.round(latencyMs * 1000))))
}

function latencies(histogram: Histogram): Row {
  const ms = (percentile: number): number => histogram.getValueAtPercentile(percentile) / 1000
  return { p50Ms: ms(50), p90Ms: ms(90), p99Ms: ms(99), p999Ms: ms(99.9), maxMs: histogram.maxValue / 1000 }
}

function throughput(records: number, bytes: number, elapsedMs: number): Row {
  const seconds = elapsedMs / 1000
  return {
    records,
    seconds: Number(seconds.toFixed(3)),
    recordsPerSecond: Math.round(records / seconds),
    megabytesPerSecond: Number((bytes / 1e6 / seconds).toFixed(1)),
  }
}
