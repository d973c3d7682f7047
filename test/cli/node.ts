/** A node in the test process, and commands that talk to it. */
import { afterAll, beforeAll } from 'vitest'
import { startTidemark, type TestTidemark } from '../../testing/index.ts'
import { type Finished, NO_CONTEXTS, runCli } from './support.ts'

export interface NodeAndCommands {
  node(): TestTidemark
  env(): Readonly<Record<string, string>>
  cli(args: readonly string[], input?: string | Buffer): Promise<Finished>
  /** What a command prints with `-o json`. */
  json(...args: string[]): Promise<unknown>
  createTopic(name: string, partitions?: number): Promise<string>
}

/** One node for the tests of a file. */
export function useNode(): NodeAndCommands {
  let started: TestTidemark | undefined
  beforeAll(async () => {
    started = await startTidemark()
  })
  afterAll(() => started?.close())

  const node = (): TestTidemark => {
    if (started === undefined) throw new Error('the node runs only during tests')
    return started
  }
  const env = (): Readonly<Record<string, string>> => ({ ...NO_CONTEXTS, TIDEMARK_BOOTSTRAP: node().address })
  const cli = (args: readonly string[], input: string | Buffer = ''): Promise<Finished> => runCli(args, { env: env(), input })
  return {
    node,
    env,
    cli,
    json: async (...args) => JSON.parse((await cli([...args, '-o', 'json'])).stdout) as unknown,
    async createTopic(name, partitions = 1) {
      const { code, stderr } = await cli(['topic', 'create', name, '-p', String(partitions)])
      if (code !== 0) throw new Error(stderr)
      return name
    },
  }
}
