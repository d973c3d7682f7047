/** scripts/run.mjs in a small project with an npm that only pretends, so that each case is quick. */
import { execFile, spawn } from 'node:child_process'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const bootstrap = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'scripts/run.mjs')

interface Finished {
  readonly code: number | string | null | undefined
  readonly stdout: string
  readonly stderr: string
}

/** Notes each call, takes a moment, and leaves behind what the real one would. */
const PRETENDED_NPM = `#!/bin/sh
echo "$@" >> ../npm-calls
sleep 0.3
rm -rf node_modules
mkdir -p node_modules/tool/bin
echo '{"bin":{"hammer":"bin/hammer.js"}}' > node_modules/tool/package.json
echo 'console.log("hammer", process.argv[2])' > node_modules/tool/bin/hammer.js
`

describe('scripts/run.mjs', () => {
  let directory: string
  let project: string

  const write = (path: string, text: string) => writeFile(join(project, path), text)
  const calls = async (): Promise<string[]> =>
    (await readFile(join(directory, 'npm-calls'), 'utf8').catch(() => '')).trim().split('\n').filter(Boolean)
  const environment = (PATH = `${directory}/bin:/usr/bin:/bin`): NodeJS.ProcessEnv => ({ PATH })
  const run = (args: readonly string[], env = environment()) =>
    new Promise<Finished>((resolve) => {
      execFile(process.execPath, [join(project, 'scripts/run.mjs'), ...args], { cwd: directory, env }, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : error.code, stdout, stderr })
      })
    })
  const npmSays = async (script: string): Promise<void> => {
    await mkdir(join(directory, 'bin'), { recursive: true })
    await writeFile(join(directory, 'bin/npm'), script)
    await chmod(join(directory, 'bin/npm'), 0o755)
  }

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tidemark-run-'))
    project = join(directory, 'project')
    await mkdir(join(project, 'scripts'), { recursive: true })
    await copyFile(bootstrap, join(project, 'scripts/run.mjs'))
    await write('package.json', JSON.stringify({ devDependencies: { tool: '1.0.0', node: '24.21.0' } }))
    await write('package-lock.json', JSON.stringify({ packages: { '': { devDependencies: { tool: '1.0.0', node: '24.21.0' } } } }))
    await write('show.ts', 'const shown: string = process.cwd()\nconsole.log(shown, process.argv.slice(2).join())\nprocess.exit(7)\n')
    await npmSays(PRETENDED_NPM)
  })

  afterEach(() => rm(directory, { recursive: true, force: true, maxRetries: 5 }))

  it('installs, then runs a TypeScript file with its arguments in the directory of the caller, and ends as it ends', async () => {
    const { code, stdout, stderr } = await run(['show.ts', 'a', '--b'])
    expect({ code, stdout }).toEqual({ code: 7, stdout: `${directory} a,--b\n` })
    expect(stderr).toBe('tidemark: installing its packages, once ...\n')
    expect(await calls()).toHaveLength(1)
  })

  it('installs no second time while the lists of packages stay the same, and again when they change', async () => {
    await run(['show.ts'])
    expect((await run(['show.ts'])).stderr).toBe('')
    expect(await calls()).toHaveLength(1)
    await write('package-lock.json', JSON.stringify({ packages: { '': {}, 'node_modules/other': { version: '2.0.0' } } }))
    await run(['show.ts'])
    expect(await calls()).toHaveLength(2)
  })

  it('does not install what an npm install by hand has already put there', async () => {
    await run(['show.ts'])
    const packages = {
      '': { devDependencies: { tool: '1.1.0' } },
      'node_modules/tool': { version: '1.1.0' },
      'node_modules/for-mac': { version: '1.0.0', optional: true },
    }
    await write('package.json', JSON.stringify({ devDependencies: { tool: '1.1.0' } }))
    await write('package-lock.json', JSON.stringify({ packages }))
    await write('node_modules/.package-lock.json', JSON.stringify({ packages: { 'node_modules/tool': { version: '1.1.0' } } }))
    expect((await run(['show.ts'])).stderr).toBe('')
    expect(await calls()).toHaveLength(1)
  })

  it('installs once when several start at once', async () => {
    const runs = await Promise.all([1, 2, 3].map(() => run(['show.ts'])))
    expect(runs.map(({ code }) => code)).toEqual([7, 7, 7])
    expect(await calls()).toHaveLength(1)
  })

  it('takes over the lock of a process that died', async () => {
    const dead = await new Promise<number>((resolve) => {
      const child = spawn(process.execPath, ['-e', '0'])
      child.on('close', () => resolve(child.pid ?? 0))
    })
    await write('.install-lock', String(dead))
    expect((await run(['show.ts'])).code).toBe(7)
  })

  it('runs the JavaScript behind a tool of its packages', async () => {
    expect((await run(['hammer', 'nail'])).stdout).toBe('hammer nail\n')
  })

  it('lets children find its Node and its tools first', async () => {
    await write('path.ts', 'console.log(process.env.PATH)')
    const { stdout } = await run(['path.ts'])
    expect(stdout.split(':').slice(0, 2)).toEqual([dirname(process.execPath), join(project, 'node_modules/.bin')])
  })

  it('passes a signal on and ends with what the child makes of it', async () => {
    await write('wait.ts', "process.on('SIGTERM', () => process.exit(42))\nsetInterval(() => {}, 1000)\nconsole.log('ready')\n")
    const child = spawn(process.execPath, [join(project, 'scripts/run.mjs'), 'wait.ts'], {
      env: environment(),
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const ended = new Promise((resolve) => child.on('close', resolve))
    await new Promise((resolve) => child.stdout.once('data', resolve))
    child.kill('SIGTERM')
    expect(await ended).toBe(42)
  })

  it('ends its child when the shell of npm died of a signal', async () => {
    await write('wait.ts', "process.on('SIGTERM', () => process.exit(0))\nsetInterval(() => {}, 1000)\nconsole.log('ready')\n")
    const command = `"${process.execPath}" "${join(project, 'scripts/run.mjs')}" wait.ts; true`
    const shell = spawn('sh', ['-c', command], {
      env: { ...environment(), npm_lifecycle_event: 'start' },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    await new Promise((resolve) => shell.stdout.once('data', resolve))
    const outputClosed = new Promise((resolve) => shell.stdout.once('close', resolve))
    shell.kill('SIGTERM')
    await outputClosed
  })

  it('says in one sentence that there is no npm', async () => {
    const { code, stderr } = await run(['show.ts'], environment('/nonexistent'))
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /cannot install its packages, because npm does not start \(ENOENT\); install Node\.js with npm, then try again\n$/,
    )
  })

  it('shows what npm said when it failed, and one sentence', async () => {
    await npmSays('#!/bin/sh\necho "npm error network is gone" >&2\nexit 1\n')
    const { code, stderr } = await run(['show.ts'])
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /npm error network is gone\ntidemark: cannot install its packages, because `npm ci` failed as it says above; .*\n$/,
    )
    await npmSays(PRETENDED_NPM)
    expect((await run(['show.ts'])).code, 'the lock was released').toBe(7)
  })

  it.each([
    ['a file that is not there', ['gone.ts']],
    ['a tool that is not there', ['gone']],
    ['nothing', []],
  ])('says in one sentence that it was asked to run %s', async (_, args) => {
    const { code, stderr } = await run(args)
    expect(code).toBe(1)
    expect(stderr).toContain(
      `tidemark: "${args[0] ?? ''}" is neither a file of the project (.ts, .mjs) nor a tool of its packages; check the spelling\n`,
    )
  })

  it('says in one sentence that the project is damaged', async () => {
    await rm(join(project, 'package-lock.json'))
    const { code, stderr } = await run(['show.ts'])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^tidemark: ENOENT.*package-lock\.json.*`git status` shows it\n$/)
  })
})
