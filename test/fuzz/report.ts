/** What a run found, for people. */
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import Table from 'cli-table3'
import type { Failure } from './engine.ts'
import type { Outcome } from './jobs.ts'

const root = join(import.meta.dirname, '../..')

/** Keeps the input of a failure, and says how to see it again. */
export function tell({ target, at, problem, input }: Failure, seed: number): void {
  const directory = join(root, 'test/fuzz/found', target)
  mkdirSync(directory, { recursive: true })
  const file = join(directory, createHash('sha256').update(input).digest('hex').slice(0, 12))
  writeFileSync(file, input)
  console.log(`\nFOUND in ${target}${at === undefined ? '' : `, execution ${at}`}: ${problem}`)
  console.log(`input: ${input.subarray(0, 80).toString('hex')}${input.length > 80 ? '…' : ''} (${input.length} bytes)`)
  console.log(`again: npm run fuzz -- --target ${target} --input ${relative(root, file)}`)
  if (at !== undefined) console.log(`   or: npm run fuzz -- --target ${target} --seed ${seed} --at ${at}`)
}

export function printTable(results: readonly Outcome[]): void {
  const table = new Table({
    head: ['target', 'executions', 'taken', 'refused', 'per s', 'slowest ms', 'buffers max', 'heap max', 'found'],
    style: { head: [], border: [], compact: true },
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right', 'right', 'right', 'right'],
  })
  const kib = (bytes: number): string => `${(bytes / 1024).toFixed(1)} KiB`
  for (const { name, executions, accepted, refused, elapsedMs, slowestMs, buffersMaxBytes, heapMaxBytes, measured, failures } of results)
    table.push([
      name,
      executions,
      accepted,
      refused,
      Math.round((1000 * executions) / Math.max(1, elapsedMs)),
      slowestMs.toFixed(1),
      measured === 0 ? '-' : kib(buffersMaxBytes),
      measured === 0 ? '-' : kib(heapMaxBytes),
      failures.length,
    ])
  console.log(table.toString())
  for (const { name, figures } of results) {
    const more = Object.entries(figures).map(([what, value]) => `${what} ${value}`)
    if (more.length > 0) console.log(`${name}: ${more.join(', ')}`)
  }
}
