import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Figures, noteFigures } from '../../scripts/figures.ts'

const script = join(import.meta.dirname, '../../scripts/check-figures.ts')

describe('the figures of .ci/run', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tidemark-figures-'))
    vi.stubEnv('TIDEMARK_FIGURES', directory)
  })
  afterEach(() => {
    vi.unstubAllEnvs()
    return rm(directory, { recursive: true, force: true })
  })

  const check = (): { code: number | null; lines: string[] } => {
    const { status, stdout } = spawnSync(process.execPath, [script, directory], { encoding: 'utf8' })
    return { code: status, lines: stdout.trim().split('\n') }
  }
  const missedOf = (suite: string, figures: Figures): string[] => {
    noteFigures(suite, figures)
    return check().lines.filter((line) => line.startsWith(`TOO LITTLE ${suite}`))
  }

  it('are shown beside what they are to reach', () => {
    noteFigures('simulation', { seeds: 1000, seconds: 7 })
    expect(check().lines[0]).toMatch(/^simulation +1,000 seeds \(at least 300\), 7 seconds$/)
  })

  it('fail where a suite has done less, or nothing', () => {
    expect(missedOf('simulation', { seeds: 299 })).toEqual(['TOO LITTLE simulation: 299 seeds of 300'])
    expect(missedOf('simulation', { seeds: 300 })).toEqual([])
    const { code, lines } = check()
    expect(code).toBe(1)
    expect(lines).toContain('TOO LITTLE states-of-raft: it has noted nothing')
  })

  it('are noted nowhere when nobody asks for them', () => {
    vi.stubEnv('TIDEMARK_FIGURES', '')
    noteFigures('simulation', { seeds: 300 })
    expect(check().lines).toContain('TOO LITTLE simulation: it has noted nothing')
  })
})
