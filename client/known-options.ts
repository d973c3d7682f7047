/** Options by names that there are not: a slip of the pen that would otherwise mean the default. */
import { TidemarkError } from '../protocol/errors.ts'
import { nearestName } from '../protocol/topic-config.ts'

/** Every option there is. Complete, because the compiler compares. */
export type KnownOptions<Options> = Readonly<Record<keyof Options, true>>

/** Throws `USAGE`, naming what was perhaps meant. `what`: whose options they are. */
export function checkKnown<Options extends object>(options: Options, known: KnownOptions<Options>, what: string): void {
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(known, name)) continue
    const nearest = nearestName(name, Object.keys(known))
    throw new TidemarkError(
      'USAGE',
      `${what} has no option ${JSON.stringify(name)}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`,
    )
  }
}
