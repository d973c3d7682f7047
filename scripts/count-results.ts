/**
 * The closing lines of `.ci/run`: what failed, by name, then how many checks and tests passed and failed.
 *
 *     count-results.ts <vitest's JSON> <steps that passed> <steps that failed>      (steps separated by spaces)
 *
 * A step other than the tests counts as one check. A test file that could not be loaded counts as one failed test, and so
 * does a run of the tests that failed without naming a failed test. Exits with 1 unless everything passed.
 */
import { existsSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'

interface TestFile {
  readonly name: string
  readonly status: string
  readonly message: string
  readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[]
}

const [report = '', passedSteps = '', failedSteps = ''] = process.argv.slice(2)
const stepsOf = (list: string): string[] => list.split(' ').filter((step) => step !== '')

const files: readonly TestFile[] = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')).testResults : []
const tests = files.flatMap((file) => file.assertionResults.map((test) => ({ ...test, file: basename(file.name) })))
const unloaded = files.filter((file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'))

const failures = [
  ...stepsOf(failedSteps).filter((step) => step !== 'tests'),
  ...tests.filter((test) => test.status === 'failed').map((test) => `${test.file}: ${test.fullName}`),
  ...unloaded.map((file) => `${basename(file.name)}: ${file.message.split('\n')[0]}`),
]
if (failures.length === 0 && stepsOf(failedSteps).includes('tests')) failures.push('the tests as a whole: see above')

const passed = stepsOf(passedSteps).filter((step) => step !== 'tests').length + tests.filter((test) => test.status === 'passed').length
const skipped = tests.filter((test) => test.status !== 'passed' && test.status !== 'failed')

for (const test of skipped) console.log(`skipped: ${test.file}: ${test.fullName}`)
for (const failure of failures) console.log(`FAILED: ${failure}`)
console.log('Checks (lint, types, build) and tests, counted together:')
console.log(`${passed} passed, ${failures.length} failed${skipped.length > 0 ? `, ${skipped.length} skipped` : ''}`)
if (failures.length > 0 || passed === 0) process.exitCode = 1
