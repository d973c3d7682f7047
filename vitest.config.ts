/** Which tests there are, by how long they may take. Tests of the same kind mirror the rooms: test/<room>/<file>.test.ts. */
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'
import { plantMutant } from './test/sim/mutants/vite-plugin.ts'

/** Start real servers or write much to disk. */
const INTEGRATION = ['test/{integration,faults,chaos}/**/*.test.ts']
/** Take a machine for themselves, minutes of it: for `npm run test:faults`, which asks for them. */
const HEAVY = ['test/faults/heavy/**/*.test.ts']
/** Do what a user does: clone, install, pack, paste commands. Minutes rather than seconds, so one after the other and last. */
const E2E = ['test/e2e/**/*.test.ts']

const heavy: TestProjectInlineConfiguration = {
  extends: true,
  test: { name: 'heavy', include: HEAVY, testTimeout: 180_000, hookTimeout: 180_000, maxWorkers: 1, sequence: { groupOrder: 3 } },
}

export default defineConfig({
  plugins: [plantMutant()],
  test: {
    pool: 'forks',
    maxWorkers: 2,
    // A test that forgets a timer or a socket must fail, not hang the run.
    teardownTimeout: 10_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [...INTEGRATION, ...HEAVY, ...E2E],
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          include: INTEGRATION,
          exclude: HEAVY,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
      ...(process.env['TIDEMARK_HEAVY_TESTS'] === undefined ? [] : [heavy]),
      {
        extends: true,
        test: { name: 'e2e', include: E2E, testTimeout: 300_000, hookTimeout: 300_000, maxWorkers: 1, sequence: { groupOrder: 2 } },
      },
    ],
  },
})
