/**
 * Everything about the text of the project that a tool can judge without running it. `--fix` formats first.
 * What the tools cannot express, such as the full table of imports, is a test: test/house/tidy.test.ts.
 */
import { runTool } from './tools.ts'

const CHECKS: readonly { readonly what: string; readonly run: () => boolean; readonly advice: string }[] = [
  { what: 'format', run: () => runTool('biome', 'format', '.'), advice: 'npm run lint -- --fix' },
  { what: 'rules', run: () => runTool('oxlint', '--type-aware', '--deny-warnings', '.'), advice: 'mend what is listed above' },
  { what: 'contract', run: () => runTool('buf', 'lint', 'protocol/proto'), advice: 'mend the .proto files listed above' },
  { what: 'generated code', run: () => runTool('scripts/gen-proto.ts', '--check'), advice: 'npm run gen' },
  { what: 'generated pages', run: () => runTool('scripts/gen-docs.ts', '--check'), advice: 'node scripts/run.mjs scripts/gen-docs.ts' },
  {
    what: 'lock file',
    run: () => runTool('scripts/complete-lock.ts', '--check'),
    advice: 'node scripts/run.mjs scripts/complete-lock.ts',
  },
]

if (process.argv.includes('--fix')) runTool('biome', 'format', '--write', '.')

const failed = CHECKS.filter((check) => !check.run())
for (const { what, advice } of failed) console.error(`lint: ${what} failed: ${advice}`)
if (failed.length === 0) console.log(`lint: ${CHECKS.map(({ what }) => what).join(', ')} are fine`)
else process.exitCode = 1
