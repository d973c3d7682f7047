import { expect, it } from 'vitest'
import { withRetries } from '../../client/retry.ts'
import { TidemarkError } from '../../protocol/errors.ts'

/** Time that only passes while somebody waits, and then by this much more than was asked for. */
function lateRuntime(lateMs: number) {
  let nowMs = 0
  return {
    clock: { now: () => nowMs, monotonic: () => nowMs },
    timers: {
      after: (delayMs: number, run: () => void) => {
        nowMs += delayMs + lateMs
        queueMicrotask(run)
        return { cancel() {} }
      },
      every: () => ({ cancel() {} }),
      nextTurn: queueMicrotask,
    },
    random: { float: () => 0.5, bytes: (count: number) => Buffer.alloc(count) },
  }
}

async function attemptsUntil(deadlineMs: number, lateMs: number): Promise<string[]> {
  const made: string[] = []
  const work = withRetries(lateRuntime(lateMs), deadlineMs, undefined, () => {
    made.push(`attempt ${made.length + 1}`)
    return Promise.reject(new TidemarkError('UNAVAILABLE', `attempt ${made.length} failed`))
  })
  const error = await work.catch((caught: unknown) => caught)
  expect(TidemarkError.is(error) && error.message).toBe(`attempt ${made.length} failed`)
  return made
}

it('an attempt that has no time left is not made: the error is that of the last one that had', async () => {
  expect(await attemptsUntil(200, 0)).toEqual(['attempt 1', 'attempt 2', 'attempt 3'])
  expect(await attemptsUntil(200, 1000)).toEqual(['attempt 1'])
})
