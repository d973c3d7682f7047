/** A leader that answers nothing, or is not there: Ctrl-C ends commands at once, and what other leaders tell is shown. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeBroker } from '../client/fake-broker.ts'
import { until } from '../client/support.ts'
import { finished, NO_CONTEXTS, startCli } from './support.ts'

/** Longer than any test may take. */
const PATIENCE = ['--timeout', '1h']

let broker: FakeBroker

beforeEach(async () => {
  broker = await FakeBroker.start(2)
  broker.createTopic('t', 2)
  broker.moveLeader('t', 0, 0)
  broker.moveLeader('t', 1, 1)
  broker.hung.add(1)
})

afterEach(async () => {
  broker.hung.clear()
  await broker[Symbol.asyncDispose]()
})

/** Interrupts a command when `isWaiting`; what it ends with. */
async function interrupted(args: readonly string[], isWaiting: () => boolean, input = ''): ReturnType<typeof finished> {
  const child = startCli([...args, ...PATIENCE], { env: { ...NO_CONTEXTS, TIDEMARK_BOOTSTRAP: broker.addresses[0] ?? '' } })
  child.stdin?.end(input)
  const ended = finished(child)
  await until(isWaiting)
  child.kill('SIGINT')
  return ended
}

const isAsked = (name: string) => (): boolean => broker.calls.includes(name)

describe('Ctrl-C while the leader of a partition answers nothing', () => {
  it.each([
    ['looks where the partitions end', ['consume', 't', '--offset', '-5'], 'describeLogs'],
    ['looks for a time', ['consume', 't', '--offset', '@-1h'], 'listOffsets'],
    ['looks where to begin', ['consume', 't', '-e'], 'listOffsets'],
  ])('ends a consumer that %s', async (_, args, call) => {
    expect(await interrupted(args, isAsked(call))).toEqual({ code: 130, stdout: '', stderr: '' })
  })

  it('ends a producer, which says that not everything came to its end', async () => {
    const isSent = (): boolean => broker.produced.length > 0
    expect(await interrupted(['produce', 't', '-p', '1'], isSent, 'x\n')).toEqual({
      code: 130,
      stdout: '',
      stderr: expect.stringMatching(/^interrupted; not everything .*\n$/),
    })
  })
})

describe('a command that reads some partitions', () => {
  it.each(['-5', '@-1h', 'start'])('from %s asks no leader of another one', async (offset) => {
    const child = startCli(['consume', 't', '-p', '0', '-e', '--offset', offset], {
      env: { ...NO_CONTEXTS, TIDEMARK_BOOTSTRAP: broker.addresses[0] ?? '' },
    })
    expect(await finished(child)).toEqual({ code: 0, stdout: '', stderr: '' })
  })
})

describe('tidemark offsets', () => {
  it('shows the partitions that have a leader, names the others, and ends with 1', async () => {
    broker.hung.clear()
    broker.moveLeader('t', 1, -1)
    const env = { ...NO_CONTEXTS, TIDEMARK_BOOTSTRAP: broker.addresses[0] ?? '' }
    const { code, stdout, stderr } = await finished(startCli(['offsets', 't', '--timeout', '200ms', '-o', 'json'], { env }))
    expect({ code, rows: JSON.parse(stdout) as unknown, stderr }).toEqual({
      code: 1,
      rows: [
        { partition: 0, earliest: 0, latest: 0, highWatermark: 0, records: 0, bytes: 0, segments: 1 },
        { partition: 1, error: 'LEADER_NOT_AVAILABLE' },
      ],
      stderr: expect.stringMatching(/^error: t-1 has no leader at the moment \[LEADER_NOT_AVAILABLE\]\. .*\n$/),
    })
  })
})
