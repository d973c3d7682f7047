/** The fuzzer itself: it finds what is planted, and what it once found is found no more. `npm run fuzz` does the executions. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { TidemarkError } from '../../protocol/errors.ts'
import { fuzz, inputAt, replay } from './engine.ts'
import { must, type Target } from './target.ts'
import { targets } from './targets.ts'

const corpus = join(dirname(fileURLToPath(import.meta.url)), 'corpus')

function targetOf(run: Target['run'], more: Partial<Target> = {}): Target {
  return { name: 'planted', what: 'a decoder with a mistake', seeds: () => [Buffer.from('a small seed of some bytes')], run, ...more }
}

const options = { executions: 3000, seed: 1, corpus: [] }

async function problemsOf(target: Target): Promise<string[]> {
  const { failures } = await fuzz(target, options)
  return failures.map(({ problem }) => problem)
}

describe('the fuzzer', () => {
  it('takes errors of ours for what they are', async () => {
    const refusing = targetOf((input) => {
      if (input.length % 2 === 0) throw new TidemarkError('CORRUPT_BATCH')
    })
    const result = await fuzz(refusing, options)
    expect(result.failures).toEqual([])
    expect(result.accepted + result.refused).toBe(3000)
    expect(result.refused).toBeGreaterThan(100)
  })

  it('finds an error that is none of ours, and one that blames ourselves', async () => {
    const untyped = targetOf((input) => {
      if (input.length < 20) throw new TypeError('too short')
    })
    expect(await problemsOf(untyped)).toEqual([expect.stringContaining('TypeError: too short')])
    const internal = targetOf(() => Promise.reject(new TidemarkError('INTERNAL')))
    expect(await problemsOf(internal)).toHaveLength(1)
  })

  it('finds buffers bought for a length that was not checked', async () => {
    const generous = targetOf((input) => void Buffer.alloc(input.length === 0 ? 0 : (input[0] as number) << 16))
    expect(await problemsOf(generous)).toContainEqual(expect.stringContaining('allocates too much'))
  })

  it('finds work that grows faster than its input', async () => {
    const slow = targetOf((input) => {
      const endMs = performance.now() + (input.length > 40 ? 300 : 0)
      while (performance.now() < endMs);
    })
    const { failures } = await replay(slow, [Buffer.alloc(41)])
    expect(failures).toMatchObject([{ problem: expect.stringContaining('takes too long') }])
  })

  it('finds a property that does not hold, and makes the same input again from its number', async () => {
    const picky = targetOf((input) => must(!input.includes(0xff), 'no byte is 0xff'))
    const { failures } = await fuzz(picky, options)
    const [found] = failures
    expect(found).toMatchObject({ problem: expect.stringContaining('no byte is 0xff') })
    expect(inputAt(picky, [...(await picky.seeds(1))], 1, found?.at as number)).toEqual(found?.input)
  })
})

describe('every decoder', () => {
  it.each(targets.filter(({ concurrency = 1 }) => concurrency === 1).map((target) => [target.name, target] as const))(
    '%s keeps its promises over its seeds and some of what becomes of them',
    async (_name, target) => {
      const { failures } = await fuzz(target, { executions: 150, seed: 1, corpus: [] })
      expect(failures.map(({ at, problem }) => `execution ${at}: ${problem}`)).toEqual([])
    },
  )

  it('a node stays, whatever comes on a connection', async () => {
    for (const target of targets.filter(({ name }) => name === 'connection')) {
      const { failures, executions } = await fuzz(target, { executions: 400, seed: 1, corpus: [] })
      expect(failures.map(({ at, problem }) => `execution ${at}: ${problem}`)).toEqual([])
      expect(executions).toBe(400)
    }
  })

  it.each(readdirSync(corpus).map((name) => [name]))('%s keeps them over what was once found', async (name) => {
    const target = targets.find((one) => one.name === name)
    if (target === undefined) throw new Error(`test/fuzz/corpus/${name} is of no target`)
    const inputs = readdirSync(join(corpus, name)).map((file) => readFileSync(join(corpus, name, file)))
    const { failures } = await replay(target, inputs)
    expect(failures.map(({ problem }) => problem)).toEqual([])
  })

  it('every field of every call is given a value', async () => {
    for (const target of targets.filter(({ name }) => name.startsWith('rpc-'))) {
      const { failures, figures } = await fuzz(target, { executions: 1600, seed: 1, corpus: [] })
      expect(failures.map(({ at, problem }) => `execution ${at}: ${problem}`)).toEqual([])
      expect(figures).toMatchObject({ 'fields reached': '100.0 %' })
    }
  })
})
