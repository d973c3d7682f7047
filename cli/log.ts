/** `tidemark log …`: looks at files, without a node. */
import type { Command } from 'commander'
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
  const [{ dumpSegment }, { nodeRuntime }] = await Promise.all([import('../log/dump.ts'), import('../runtime/node.ts')])
  const rows: Row[] = []
  let isDamaged = false
  for await (const entry of dumpSegment(nodeRuntime().files, segment)) {
    if (entry.damage !== undefined) isDamaged = true
    rows.push({ ...entry })
  }
  await printRows(rows, options.output)
  if (isDamaged) process.exitCode = EXIT.failed
}

async function verify(directory: string, options: GlobalOptions): Promise<void> {
  const [{ verifyDirectory }, { nodeRuntime }] = await Promise.all([import('../log/dump.ts'), import('../runtime/node.ts')])
  const { findings, partitionCount, batchCount } = await verifyDirectory(nodeRuntime().files, directory)
  await printRows(
    findings.map((finding) => ({ ...finding })),
    options.output,
  )
  note(`${partitionCount} partitions, ${batchCount} batches: ${findings.length === 0 ? 'all sound' : `${findings.length} problems`}`)
  if (findings.length > 0) process.exitCode = EXIT.failed
}
