import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { ratioResult, type Result } from '../../scripts/bench/harness.ts'
import { beginReport, line, writeReport } from '../../scripts/bench/report.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-compare-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

function produced(ours: number, name = 'produce'): Result {
  return ratioResult({ name, ours, baseline: 200, unit: 'MB/s', against: 'the disk', budget: '≥ 0.60', atLeast: 0.6 })
}

it('sets two results side by side, with the change and what is only in one of them', () => {
  const paths = ['a.json', 'b.json'].map((name) => join(directory, name)) as [string, string]
  writeReport(paths[0], beginReport().finish([produced(100), produced(1, 'gone')]))
  writeReport(paths[1], beginReport().finish([produced(150), produced(1, 'new')]))
  const text = execFileSync(process.execPath, ['scripts/bench/compare.ts', ...paths], { encoding: 'utf8' })
  expect(text).toContain('| produce | 100 MB/s | 150 MB/s | +50 % | 0.50 × | 0.75 × |')
  expect(text).toContain('| gone | only in a |')
  expect(text).toContain('| new | only in b |')
})

it('says whether a budget was met, and nothing where there is none', () => {
  const { budget: _, isMet: __, ...without } = produced(100)
  expect(line(produced(100))).toMatch(/^MISSED produce: 100 MB\/s; the disk: 200 MB\/s; 0\.50 × \(budget ≥ 0\.60\)$/)
  expect(line(produced(120))).toMatch(/^met {4}produce/)
  expect(line(without)).toBe('       produce: 100 MB/s; the disk: 200 MB/s; 0.50 ×')
})
