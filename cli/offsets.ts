/** `tidemark offsets`: where the partitions of a topic begin and end. */
import type { Command } from 'commander'
import { durationOf } from './arguments.ts'
import { type GlobalOptions, withClient } from './context.ts'
import { printRows, type Row } from './output.ts'

export function addOffsets(program: Command): void {
  program
    .command('offsets <topic>')
    .description('earliest and latest offset, high watermark and size of each partition')
    .action((topic: string, _flags: object, command: Command) => offsets(topic, command.optsWithGlobals()))
}

/** So long a partition without a leader is waited for: it has a new one within seconds, or something is wrong. */
const LEADER_WAIT_MS = 5000

function offsets(topic: string, options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    const timeoutMs = Math.min(LEADER_WAIT_MS, durationOf(options.timeout, '--timeout'))
    const { offsets: known, failed } = await admin.knownOffsets(topic, { timeoutMs })
    const rows: (Row & { readonly partition: number })[] = [
      ...known.map(({ partition, earliest, highWatermark, logEnd, sizeBytes, segmentCount }) => ({
        partition,
        earliest,
        latest: logEnd,
        highWatermark,
        records: highWatermark - earliest,
        bytes: sizeBytes,
        segments: segmentCount,
      })),
      ...failed.map(({ partition, error }) => ({ partition, error: error.code })),
    ]
    await printRows(
      rows.sort((a, b) => a.partition - b.partition),
      options.output,
    )
    if (failed[0] !== undefined) throw failed[0].error
  })
}
