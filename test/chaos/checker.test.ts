/** The checker of histories is itself checked: each anomaly is planted, alone, and must be found under its name. */
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { ANOMALIES, type AnomalyKind } from '../../scripts/chaos/anomalies.ts'
import { check } from '../../scripts/chaos/checker.ts'
import { HistoryFile, readHistory } from '../../scripts/chaos/history.ts'
import { begun, clean, PLANTED } from './planted.ts'

describe('a history', () => {
  it('without a mistake has no anomaly, whatever failed, was repeated or was killed in it', () => {
    const { anomalies, ...counts } = check(clean().entries)
    expect(anomalies).toEqual([])
    expect(counts).toMatchObject({ acknowledged: 4, failed: 1, indeterminate: 3, checked: 6, toleratedCopies: 1, commits: 2 })
  })

  it('is planted for every anomaly there is', () => {
    expect(Object.values(PLANTED).every((plants) => plants.length > 0)).toBe(true)
    expect(Object.keys(PLANTED).sort()).toEqual(Object.keys(ANOMALIES).sort())
  })

  for (const [kind, plants] of Object.entries(PLANTED) as [AnomalyKind, (typeof PLANTED)[AnomalyKind]][])
    for (const [index, plant] of plants.entries())
      it(`with ${kind} (${index + 1}: ${ANOMALIES[kind]}) is told apart by exactly that`, () => {
        const found = check(plant().entries).anomalies
        expect(new Set(found.map((anomaly) => anomaly.kind)), JSON.stringify(found)).toEqual(new Set([kind]))
      })

  it('of which nothing was read in the end counts everything acknowledged as unseen', () => {
    const { anomalies } = check(begun().sent('p.1', 'a', [0, 0]).entries)
    expect(anomalies.map(({ kind }) => kind)).toEqual(['unseen'])
  })
})

describe('history files', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-history-'))
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  it('are merged by time, and the line that a killed process did not finish is left out', () => {
    const [one, other] = [new HistoryFile(directory, 'p.1'), new HistoryFile(directory, 'q.1')]
    one.write({ op: 'start', role: 'producer', idempotent: true })
    other.write({ op: 'start', role: 'reader' })
    one.write({ op: 'send', type: 'invoke', id: 1, value: 'p.1:1' })
    appendFileSync(join(directory, 'p.1.ndjson'), '{"t":12,"op":"se')
    expect(readHistory(directory).map(({ process, op }) => `${process} ${op}`)).toEqual(['p.1 start', 'q.1 start', 'p.1 send'])
    one.close()
    other.close()
  })
})
