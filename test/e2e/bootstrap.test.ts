/** A fresh clone on a machine with an old Node and nothing else: `npm start`, the commands it prints, and a restart. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { olderNode, root, runOk, Server, temporaryDirectory, userEnvironment } from './support.ts'

/** Commands the welcome prints are indented; the address they need is in them unless it is the default. */
const printedCommands = (output: string): string[] =>
  output
    .split('\n')
    .filter((line) => /^ {2}\S.*tidemark /.test(line))
    .map((line) => line.trim())

describe('a fresh clone on an old Node', () => {
  it('starts with npm start alone, its printed commands work, and the data survives a restart', async (context) => {
    const old = await olderNode()
    if (old === undefined) return context.skip('needs a Node below 24 on the PATH')
    await using directory = await temporaryDirectory()
    const clone = join(directory.path, 'clone')
    await runOk('git', ['clone', '--quiet', '--no-hardlinks', root, clone], { cwd: directory.path })
    const env = { ...userEnvironment(), TIDEMARK_LISTEN: '127.0.0.1:0', CI: 'true' }
    const shell = (command: string) => runOk('sh', ['-c', command], { cwd: clone, env })

    let commands: string[]
    {
      await using server = new Server('npm', ['start'], { cwd: clone, env })
      const [, address] = await server.said(/runs at (\S+:\d+);[\s\S]*metrics/i)
      expect((await fetch(`http://${address}/readyz`)).status).toBe(200)
      commands = printedCommands(server.output)
      expect(commands).toHaveLength(3)
      let last = ''
      for (const command of commands) last = (await shell(command)).stdout
      expect(last).toContain('greeting -> hello, world')
      await server.stop()
      expect(server.output).not.toContain('killed:')
      expect(existsSync(join(clone, 'tidemark-data/clean-shutdown'))).toBe(true)
    }

    await using server = new Server('npm', ['start'], { cwd: clone, env })
    await server.said(/runs at (\S+:\d+);[\s\S]*metrics/i)
    const consume = printedCommands(server.output).find((command) => command.includes(' consume '))
    expect((await shell(consume ?? 'false')).stdout).toContain('greeting -> hello, world')
  })

  it('fetches its Node where install scripts are ignored, and installs once when two start at once', async (context) => {
    const old = await olderNode()
    if (old === undefined) return context.skip('needs a Node below 24 on the PATH')
    await using directory = await temporaryDirectory()
    const clone = join(directory.path, 'clone')
    await runOk('git', ['clone', '--quiet', '--no-hardlinks', root, clone], { cwd: directory.path })
    const env = { ...userEnvironment(), npm_config_ignore_scripts: 'true' }
    const start = () => runOk(old, [join(clone, 'scripts/run.mjs'), 'tsc', '--version'], { cwd: dirname(clone), env })
    const runs = await Promise.all([start(), start()])
    for (const { stdout } of runs) expect(stdout).toMatch(/^Version \d/)
    expect(runs.filter(({ stderr }) => stderr.includes('installing'))).toHaveLength(1)
    const stamp = JSON.parse(await readFile(join(clone, 'node_modules/.tidemark-install.json'), 'utf8'))
    expect(stamp.node).toContain('node_modules/.node/')
  })
})
