import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const script = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'scripts/count-results.ts')

describe('the closing lines of .ci/run', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tidemark-count-'))
  })
  afterEach(() => rm(directory, { recursive: true, force: true }))

  const count = async (
    testResults: readonly object[] | undefined,
    passed: string,
    failed: string,
  ): Promise<{ code: number; lines: string[] }> => {
    const report = join(directory, 'tests.json')
    if (testResults !== undefined) await writeFile(report, JSON.stringify({ testResults }))
    return new Promise((resolve) => {
      execFile(process.execPath, [script, report, passed, failed], (error, stdout) =>
        resolve({ code: error === null ? 0 : 1, lines: stdout.trim().split('\n') }),
      )
    })
  }
  const file = (...statuses: string[]) => ({
    name: '/x/a.test.ts',
    status: statuses.includes('failed') ? 'failed' : 'passed',
    message: '',
    assertionResults: statuses.map((status, index) => ({ fullName: `test ${index}`, status })),
  })

  it('counts checks and tests together', async () => {
    const { code, lines } = await count([file('passed', 'passed')], 'lint types build tests', '')
    expect({ code, last: lines.at(-1) }).toEqual({ code: 0, last: '5 passed, 0 failed' })
  })

  it('names each failure and each skipped test, and fails', async () => {
    const { code, lines } = await count([file('passed', 'failed', 'skipped')], 'types build', 'lint tests')
    expect(code).toBe(1)
    expect(lines).toEqual([
      'skipped: a.test.ts: test 2',
      'FAILED: lint',
      'FAILED: a.test.ts: test 1',
      'Checks (lint, types, build) and tests, counted together:',
      '3 passed, 2 failed, 1 skipped',
    ])
  })

  it('counts a file that could not be loaded as a failure', async () => {
    const unloaded = { name: '/x/b.test.ts', status: 'failed', message: 'no such module\nstack', assertionResults: [] }
    const { code, lines } = await count([file('passed'), unloaded], 'lint types build', 'tests')
    expect({ code, lines }).toMatchObject({
      code: 1,
      lines: ['FAILED: b.test.ts: no such module', expect.anything(), '4 passed, 1 failed'],
    })
  })

  it('fails when the tests left no report', async () => {
    const { code, lines } = await count(undefined, 'lint types build', 'tests')
    expect({ code, last: lines.at(-1) }).toEqual({ code: 1, last: '3 passed, 1 failed' })
  })

  it('fails when the run of the tests failed though every test passed', async () => {
    const { code, lines } = await count([file('passed')], 'lint types build', 'tests')
    expect({ code, last: lines.at(-1) }).toEqual({ code: 1, last: '4 passed, 1 failed' })
  })
})
