/** `tidemark log …`: looks at files, without a node. */
import type { Command } from 'commander'
import { TidemarkError } from '../protocol/errors.ts'
import { plural } from './arguments.ts'
import type { GlobalOptions } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { note, printRows, type Row } from './output.ts'

export function addLog(program: Command): void {
  const log = program.command('log').description('look at segments and data directories offline')
  log
    .command('dump <segment>')
    .description('print the batches of a .log file')
    .action((segment: string, _flags: object, command: Command) => dump(segment, command.optsWithGlobals()))
  log
    .command('verify <directory>')
    .description('check every batch, index and snapshot of a data directory or a partition')
    .action((directory: string, _flags: object, command: Command) => verify(directory, command.optsWithGlobals()))
}

async function dump(segment: string, options: GlobalOptions): Promise<void> {
  const [{ dumpSegment }, { LOG_SUFFIX }, { nodeFiles }, { compressionOfNumber }, { codecOf }] = await Promise.all([
    import('../log/dump.ts'),
    import('../log/file-names.ts'),
    import('../runtime/node-files.ts'),
    import('../protocol/compression.ts'),
    import('../protocol/batch-header.ts'),
  ])
  if ((await nodeFiles.stat(segment)) === undefined) throw missing(segment)
  if (!segment.endsWith(LOG_SUFFIX)) throw new TidemarkError('USAGE', `${segment} is not a segment: the name of one ends in ${LOG_SUFFIX}`)
  const rows: Row[] = []
  for await (const item of dumpSegment(nodeFiles, segment)) {
    if (item.kind === 'damage') {
      rows.push({ position: item.position, damage: item.what })
    } else {
      const { header, position } = item
      rows.push({
        position,
        baseOffset: header.baseOffset,
        lastOffset: header.lastOffset,
        records: header.recordCount,
        bytes: header.sizeBytes,
        epoch: header.leaderEpoch,
        codec: compressionOfNumber(codecOf(header.attributes)),
        maxTimestamp: header.maxTimestamp,
        producer: header.producerId,
        sequence: header.baseSequence,
        checksum: item.isChecksumRight ? 'right' : 'WRONG',
      })
    }
    if (item.kind === 'damage' || !item.isChecksumRight) process.exitCode = EXIT.failed
  }
  await printRows(rows, options.output)
}

async function verify(directory: string, options: GlobalOptions): Promise<void> {
  const [{ verifyDataDir, verifyPartition }, { nodeFiles }] = await Promise.all([
    import('../log/verify.ts'),
    import('../runtime/node-files.ts'),
  ])
  if ((await nodeFiles.stat(directory)) === undefined) throw missing(directory)
  const isPartition = (await nodeFiles.stat(`${directory}/partition.json`)) !== undefined
  if (!isPartition && (await nodeFiles.stat(`${directory}/topics`)) === undefined)
    throw new TidemarkError('USAGE', `${directory} is neither a data directory nor a partition of one`)
  const partitions = isPartition
    ? [await verifyPartition(nodeFiles, directory)]
    : await Array.fromAsync(verifyDataDir(nodeFiles, directory))
  const findings = partitions.flatMap((partition) => partition.findings)
  await printRows(
    findings.map(({ severity, file, position, problem }) => ({ severity, file, position, problem })),
    options.output,
  )
  const damageCount = findings.filter(({ severity }) => severity === 'damage').length
  const batchCount = partitions.reduce((sum, partition) => sum + partition.batchCount, 0)
  note(
    `${plural(partitions.length, 'partition')}, ${plural(batchCount, 'batch', 'batches')}: ${plural(damageCount, 'damage')}, ${plural(findings.length - damageCount, 'thing')} the next start repairs`,
  )
  if (damageCount > 0) process.exitCode = EXIT.failed
}

function missing(path: string): TidemarkError {
  return new TidemarkError('USAGE', `there is no ${path}`)
}
