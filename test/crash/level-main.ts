/**
 * Runs crashes of quorum's stores at work, LevelDB's own files included: `npm run crash:quorum -- --images 100000` until so many states of the disk were opened;
 * `--seed 7` those of one store; `--recorded` those of the work that lies here, for machines without strace; `--record` makes that again.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { noteFigures } from '../../scripts/figures.ts'
import { makePlace, runLevelCrashes } from './level-images.ts'
import { packCalls, traceWork, unpackCalls, whyNoTrace } from './level-trace.ts'

const RECORDED = join(import.meta.dirname, 'recorded-level.ndjson.gz')

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    from: { type: 'string', default: '1' },
    images: { type: 'string', default: '2000' },
    /** How often a store is opened, and calls to it each time. */
    sessions: { type: 'string', default: '7' },
    steps: { type: 'string', default: '8' },
    'per-moment': { type: 'string', default: '14' },
    recorded: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
  },
})

const startedMs = performance.now()
const work = { sessions: Number(values.sessions), steps: Number(values.steps) }
const first = Number(values.seed ?? values.from)
const reason = whyNoTrace()
const isRecorded = values.recorded || reason !== undefined
if (values.record) writeFileSync(RECORDED, packCalls(traceWork({ seed: first, ...work })))
if (isRecorded) console.log(`what a store once asked of the kernel is played again: ${reason ?? 'as wanted'}`)

const totals = { stores: 0, moments: 0, images: 0, withNext: 0, refused: 0, failed: 0 }
const directory = await makePlace()
try {
  const isEnough = (): boolean =>
    totals.failed > 0 || (values.seed !== undefined && totals.stores > 0) || totals.images >= Number(values.images)
  for (let seed = first; !isEnough(); seed++) {
    const calls = isRecorded ? unpackCalls(readFileSync(RECORDED)) : traceWork({ seed, ...work })
    totals.stores++
    try {
      const run = await runLevelCrashes(calls, { seed, directory, imagesPerMoment: Number(values['per-moment']) })
      totals.moments += run.moments
      totals.images += run.images
      totals.withNext += run.withNext
      totals.refused += run.refused
    } catch (error) {
      totals.failed++
      console.error(error instanceof Error ? error.stack : error)
      const options = isRecorded ? '--recorded' : `--sessions ${values.sessions} --steps ${values.steps}`
      console.error(`again: npm run crash:quorum -- --seed ${seed} ${options} --per-moment ${values['per-moment']}`)
    }
  }
} finally {
  rmSync(directory, { recursive: true, force: true })
}
const seconds = Math.round((performance.now() - startedMs) / 1000)
console.log(
  `crashes of quorum's stores: ${totals.images} states of the disk opened, ${totals.withNext} with what was under way, ${totals.refused} refused as they may be; ${totals.stores} stores, ${totals.moments} moments, ${totals.failed} failed, in ${seconds} s`,
)
noteFigures('crash-images-quorum', {
  images: totals.images,
  stores: totals.stores,
  moments: totals.moments,
  refused: totals.refused,
  failed: totals.failed,
  seconds,
})
process.exitCode = totals.failed === 0 ? 0 : 1
