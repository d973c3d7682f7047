/**
 * Runs crashes of logs at work: `npm run crash -- --images 1000000` until so many states of the disk were opened; `--seed 7` those of one log.
 */
import { parseArgs } from 'node:util'
import { noteFigures } from '../../scripts/figures.ts'
import { runCrashes } from './run.ts'

const { values } = parseArgs({
  options: {
    /** One log alone. */
    seed: { type: 'string' },
    /** Logs from this seed on. */
    from: { type: 'string', default: '1' },
    images: { type: 'string', default: '20000' },
    steps: { type: 'string', default: '40' },
    'per-moment': { type: 'string', default: '8' },
    'first-failure': { type: 'boolean', default: false },
  },
})

const startedMs = performance.now()
const totals = { logs: 0, moments: 0, images: 0, secondImages: 0, failed: 0 }
const first = Number(values.seed ?? values.from)
for (let seed = first; values.seed === undefined ? totals.images < Number(values.images) : seed === first; seed++) {
  const { moments, images, secondImages, failure } = await runCrashes({
    seed,
    steps: Number(values.steps),
    imagesPerMoment: Number(values['per-moment']),
  })
  totals.logs++
  totals.moments += moments
  totals.images += images
  totals.secondImages += secondImages
  if (failure === undefined) continue
  totals.failed++
  console.error(`seed ${seed}: ${failure.stack}`)
  console.error(`again: npm run crash -- --seed ${seed} --steps ${values.steps} --per-moment ${values['per-moment']}`)
  if (values['first-failure']) break
}
const seconds = Math.round((performance.now() - startedMs) / 1000)
console.log(
  `crashes: ${totals.images} states of the disk opened, ${totals.secondImages} of them left by a crash of a recovery; ${totals.logs} logs, ${totals.moments} moments, ${totals.failed} failed, in ${seconds} s`,
)
noteFigures('crash-images', {
  images: totals.images,
  'of recoveries': totals.secondImages,
  logs: totals.logs,
  moments: totals.moments,
  failed: totals.failed,
  seconds,
})
process.exitCode = totals.failed === 0 ? 0 : 1
