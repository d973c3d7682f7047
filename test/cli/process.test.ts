import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { NODE_SETTINGS } from '../../broker/node-settings.ts'
import { VERSION } from '../../protocol/version.ts'
import { NO_CONTEXTS, runCli } from './support.ts'

let directory: string
const nobody = { ...NO_CONTEXTS, TIDEMARK_BOOTSTRAP: '127.0.0.1:1' }

beforeAll(() => void (directory = mkdtempSync(join(tmpdir(), 'tidemark-cli-'))))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const cli = (...args: string[]) => runCli(args, { env: nobody, cwd: directory })

describe('wrong usage ends with 2, a sentence on standard error and nothing on standard output', () => {
  it.each([
    [['topc', 'list'], /^error: unknown command 'topc'; did you mean topic\? \[USAGE\]\. `--help` shows what there is\.\n$/],
    [['topic', 'lits'], /unknown command 'lits'; did you mean list\?/],
    [['produce', 'a', '--compresion', 'zstd'], /unknown option '--compresion'; did you mean --compression\?/],
    [['produce', 'a', '--compression', 'brotli'], /Allowed choices are none, gzip, zstd, lz4, snappy/],
    [['produce', 'a', '--acks', 'some'], /Allowed choices are all, leader, none/],
    [['produce'], /missing required argument 'topic'/],
    [['topic', 'list', '-o', 'xml'], /Allowed choices are table, json, jsonl, yaml/],
    [['consume', 'a', '--offset', 'somewhere'], /"somewhere" is not an offset.*\[USAGE\]/],
    [['consume', 'a', '-f', '%x'], /"%x" in the format means nothing.*\[USAGE\]/],
    [['consume', 'a', '-n', 'ten'], /--num is "ten"/],
    [['topic', 'alter', 'a'], /say what to change/],
    [['topic', 'delete', 'a'], /say --yes when nobody can be asked/],
    [['completion', 'tcsh'], /unknown shell "tcsh", there is bash, zsh, fish/],
    [['topic', 'list', '--timeout', 'soon'], /--timeout is "soon", expected a duration.*\[USAGE\]/],
    [['consume', 'a', '-e', '--follow'], /either --exit-at-end or --follow/],
    [['bench', 'produce', '--rate', '5'], /unknown option '--rate'/],
    [['bench', 'e2e', '--records', '5'], /unknown option '--records'/],
    [['config', 'print', '--set', 'limits.fetch_byte=1'], /did you mean limits\.fetch_bytes\?/],
    [['config', 'print', '--config', 'missing.yaml'], /missing\.yaml cannot be read.*\[INVALID_CONFIG\]/],
    [['log', 'dump', 'missing.log'], /there is no missing\.log \[USAGE\]/],
    [['log', 'dump', '.'], /\. is not a segment/],
    [['log', 'verify', 'missing'], /there is no missing \[USAGE\]/],
    [['log', 'verify', '.'], /\. is neither a data directory nor a partition of one/],
    [['dev', '--port', '1', '--listen', '2'], /either --port or --listen/],
    [[], /^Usage: tidemark/],
    [['topic'], /^Usage: tidemark topic/],
  ])('%j', async (args, message) => {
    expect(await cli(...args)).toEqual({ code: 2, stdout: '', stderr: expect.stringMatching(message) })
  })
})

describe('a node that is not there', () => {
  it('is one sentence with the code, and 1', async () => {
    const { code, stdout, stderr } = await cli('topic', 'list', '--timeout', '1s')
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^error: no node answered at 127\.0\.0\.1:1: .*[^.\s] \[UNAVAILABLE\]\. [A-Z].*\.\n$/)
  })

  it('shows a stack only with --debug', async () => {
    expect((await cli('topic', 'list', '--timeout', '1s', '--debug')).stderr).toMatch(/\n {4}at /)
  })

  it('is an unhealthy cluster: 10, and the reason as data', async () => {
    const { code, stdout } = await cli('cluster', 'health', '-o', 'json', '--timeout', '1s')
    expect(code).toBe(10)
    expect(JSON.parse(stdout)).toEqual({ status: 'unhealthy', reasons: [expect.stringContaining('no node answered')] })
  })
})

describe('what is refused', () => {
  it('is listening for everybody without authentication: 4', async () => {
    const { code, stderr } = await cli('serve', '--listen', '0.0.0.0:0')
    expect({ code, stderr }).toEqual({
      code: 4,
      stderr: expect.stringMatching(/^error: listening on 0\.0\.0\.0 .*\[INSECURE_LISTEN\]\. .*\n$/),
    })
  })
})

describe('without a node', () => {
  it('tells its version', async () => {
    expect(await cli('version')).toEqual({ code: 0, stdout: `${VERSION}\n`, stderr: '' })
    expect(await cli('--version')).toEqual({ code: 0, stdout: `${VERSION}\n`, stderr: '' })
  })

  it('prints every setting with where it comes from', async () => {
    writeFileSync(join(directory, 'mine.yaml'), 'node_id: 7\nlimits:\n  fetch_bytes: 2MiB\n')
    const args = ['config', 'print', '--config', 'mine.yaml', '--set', 'rack=r1', '-o', 'json']
    const { stdout } = await runCli(args, { cwd: directory, env: { TIDEMARK_LISTEN: '127.0.0.1:1' } })
    const entries = JSON.parse(stdout) as { key: string; value: string; source: string }[]
    expect(entries.map(({ key }) => key)).toEqual(Object.keys(NODE_SETTINGS))
    expect(entries).toEqual(
      expect.arrayContaining([
        { key: 'node_id', value: '7', source: 'file' },
        { key: 'limits.fetch_bytes', value: '2MiB', source: 'file' },
        { key: 'rack', value: 'r1', source: 'flag' },
        { key: 'listen', value: '127.0.0.1:1', source: 'environment' },
        { key: 'log_level', value: 'info', source: 'default' },
      ]),
    )
  })

  it('helps with the options of a command, and with those of every command', async () => {
    const { code, stdout } = await cli('topic', 'create', '--help')
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: expect.stringMatching(/--partitions(.*\n)+Global Options:\n(.*\n)+ +-o, --output/),
    })
    expect(stdout).not.toMatch(/default: (\[\]|false)/)
  })

  it('says in one line what is wrong with a file of settings', async () => {
    writeFileSync(join(directory, 'broken.yaml'), 'listen: [1\n')
    expect(await cli('config', 'print', '--config', 'broken.yaml')).toEqual({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/^error: broken\.yaml cannot be read: .* at line 2, column 1 \[INVALID_CONFIG\]\. .*\n$/),
    })
  })

  it('prints the same rows as table, json, jsonl and yaml', async () => {
    const [table, json, jsonl, yaml] = await Promise.all(
      ['table', 'json', 'jsonl', 'yaml'].map(async (format) => (await cli('config', 'describe', '-o', format)).stdout),
    )
    const rows = JSON.parse(json ?? '') as { key: string; allowed: string }[]
    expect(rows.find(({ key }) => key === 'durability')?.allowed).toBe('fsync, replicated, none')
    expect(rows.find(({ key }) => key === 'retention.ms')?.allowed).toMatch(/^\d+\w+ to \d+\w+, unlimited$/)
    expect(
      (jsonl ?? '')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual(rows)
    expect((table ?? '').trim().split('\n')).toHaveLength(rows.length + 1)
    expect((yaml ?? '').match(/^ {2}key: /gm)).toHaveLength(rows.length)
  })
})
