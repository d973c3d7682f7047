import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, it } from 'vitest'

it('an execution that goes round in circles ends the run, with what to type to see it again', () => {
  const watchdog = JSON.stringify(join(import.meta.dirname, 'watchdog.ts'))
  const script = `import { Watchdog } from ${watchdog}; const dog = await Watchdog.open('npm run fuzz -- --at {at}', 300); dog.begins(7); for (;;);`
  const { signal, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8', timeout: 60_000 })
  expect(signal).toBe('SIGKILL')
  expect(stderr).toContain('execution 7 has no end')
  expect(stderr).toContain('again: npm run fuzz -- --at 7')
})
