/** `tidemark offsets`: where the partitions of a topic begin and end. */
import type { Command } from 'commander'
import { type GlobalOptions, withClient } from './context.ts'
import { printRows } from './output.ts'

export function addOffsets(program: Command): void {
  program
    .command('offsets <topic>')
    .description('earliest and latest offset, high watermark and size of each partition')
    .action((topic: string, _flags: object, command: Command) => offsets(topic, command.optsWithGlobals()))
}

function offsets(topic: string, options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    const partitions = await admin.offsets(topic)
    await printRows(
      partitions.map(({ partition, earliest, highWatermark, logEnd, sizeBytes, segmentCount }) => ({
        partition,
        earliest,
        latest: logEnd,
        highWatermark,
        records: highWatermark - earliest,
        bytes: sizeBytes,
        segments: segmentCount,
      })),
      options.output,
    )
  })
}
