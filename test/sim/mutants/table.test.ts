import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { MUTANTS } from './table.ts'

const root = join(import.meta.dirname, '../../..')

it('every planted mistake has one place where it goes, and a name of its own', () => {
  const misplaced = MUTANTS.filter(({ file, find }) => readFileSync(join(root, file), 'utf8').split(find).length !== 2)
  expect(misplaced.map(({ id }) => id)).toEqual([])
  expect(new Set(MUTANTS.map(({ id }) => id)).size).toBe(MUTANTS.length)
})
