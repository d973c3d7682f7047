import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { type Finished, runCli } from './support.ts'

const config = mkdtempSync(join(tmpdir(), 'tidemark-contexts-'))
const file = join(config, 'tidemark/contexts.json')
const env = { XDG_CONFIG_HOME: config, APPDATA: config }

const cli = (args: string, more: Readonly<Record<string, string>> = {}): Promise<Finished> =>
  runCli(args.split(' '), { env: { ...env, ...more } })
/** Nobody listens at these ports: the message of the failure names the address that was tried. */
const tried = async (args: string, more?: Readonly<Record<string, string>>): Promise<string | undefined> =>
  /no node answered at (\S+):/.exec((await cli(`${args} --timeout 1s`, more)).stderr)?.[1]

beforeEach(() => rmSync(join(config, 'tidemark'), { recursive: true, force: true }))
afterAll(() => rmSync(config, { recursive: true, force: true }))

describe('contexts', () => {
  it('are added, listed, chosen and forgotten, and leave one file', async () => {
    await cli('context add here 127.0.0.1:1')
    await cli('context add there a,b:2')
    expect(JSON.parse((await cli('context list -o json')).stdout)).toEqual([
      { name: 'here', bootstrap: '127.0.0.1:1', current: 'yes' },
      { name: 'there', bootstrap: 'a:9092,b:2', current: '' },
    ])
    expect(await cli('context use there')).toMatchObject({ code: 0, stderr: 'there (a:9092,b:2) is in use\n' })
    await cli('context remove there')
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ clusters: { here: '127.0.0.1:1' } })
    expect(readdirSync(join(config, 'tidemark'))).toEqual(['contexts.json'])
  })

  it('stand below flags and environment', async () => {
    await cli('context add one 127.0.0.1:1')
    await cli('context add two 127.0.0.1:2')
    const found = await Promise.all([
      tried('topic list'),
      tried('topic list --context two'),
      tried('topic list', { TIDEMARK_CONTEXT: 'two' }),
      tried('topic list', { TIDEMARK_BOOTSTRAP: '127.0.0.1:3' }),
      tried('topic list --context two', { TIDEMARK_BOOTSTRAP: '127.0.0.1:3' }),
      tried('topic list --bootstrap 127.0.0.1:4'),
    ])
    expect(found).toEqual([1, 2, 2, 3, 2, 4].map((port) => `127.0.0.1:${port}`))
  })

  it.each([
    ['context use nobody', /no context named "nobody" \[USAGE\]/],
    ['topic list --context nobody', /no context named "nobody" \[USAGE\]/],
    ['topic list --context a --bootstrap b', /either --bootstrap or --context \[USAGE\]/],
    ['context add bad http://x/y', /is not an address/],
  ])('%s is refused', async (args, message) => {
    expect(await cli(args)).toMatchObject({ code: 2, stderr: expect.stringMatching(message) })
  })

  it('in a damaged file are an error that names it, except for commands that talk to nobody', async () => {
    await cli('context add here 127.0.0.1:1')
    writeFileSync(file, '{ half')
    expect(await cli('topic list')).toMatchObject({ code: 2, stderr: expect.stringContaining(file) })
    expect(await cli('config print')).toMatchObject({ code: 0, stderr: '' })
  })
})
