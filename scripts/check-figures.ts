/**
 * Prints how much the suites that prove something have checked, beside what they are to reach, and fails where one has checked less.
 *
 *     check-figures.ts <directory in which they noted it>
 *
 * Time is shown and not judged: it says more about the machine.
 */
import { type Figures, readFigures, textOfFigures } from './figures.ts'

interface Wanted {
  readonly suite: string
  readonly atLeast: Figures
}

/** What `.ci/run` is to reach. */
const WANTED: readonly Wanted[] = [
  { suite: 'chaos', atLeast: { faults: 20 } },
  { suite: 'crash-images', atLeast: { images: 20_000 } },
  { suite: 'crash-images-quorum', atLeast: { images: 2000 } },
  { suite: 'fuzzing', atLeast: { executions: 1_000_000 } },
  { suite: 'simulation', atLeast: { seeds: 300 } },
  { suite: 'states-of-raft', atLeast: { states: 1_000_000 } },
  { suite: 'states-of-replicas', atLeast: { states: 800_000 } },
]

const noted = readFigures(process.argv[2] ?? '')
const missed: string[] = []
for (const { suite, atLeast } of WANTED) {
  const figures = noted.get(suite)
  if (figures === undefined) missed.push(`${suite}: it has noted nothing`)
  for (const [what, least] of Object.entries(atLeast))
    if (figures !== undefined && (figures[what] ?? 0) < least) missed.push(`${suite}: ${figures[what] ?? 0} ${what} of ${least}`)
}
for (const [suite, figures] of noted)
  console.log(`${suite.padEnd(20)} ${textOfFigures(figures, WANTED.find((one) => one.suite === suite)?.atLeast)}`)
for (const one of missed) console.log(`TOO LITTLE ${one}`)
if (missed.length > 0) process.exitCode = 1
