/**
 * Starting takes memory that running does not: what V8 has made room for it keeps, and a node that does little never makes it look
 * again. Once nothing is going on, one collection gives it back, an eighth of what the process holds.
 */
import { createRequire } from 'node:module'

const LOOK_EVERY_MS = 1000

/** A collection takes tens of milliseconds: nobody may be waiting for anything. */
const IDLE_BELOW = 0.05

interface CollectionOptions {
  readonly type: 'major'
  readonly flavor: 'last-resort'
}

/** Does so once; until then it can be stopped. */
export function releaseOnceIdle(): { stop(): void } {
  let before = performance.eventLoopUtilization()
  const timer = setInterval(() => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, before)
    before = now
    if (utilization >= IDLE_BELOW) return
    clearInterval(timer)
    release()
  }, LOOK_EVERY_MS).unref()
  return { stop: () => clearInterval(timer) }
}

/** V8 shows its collector only to code that begins after the flag was set: in a context of its own. */
function release(): void {
  const require = createRequire(import.meta.url)
  const v8 = require('node:v8') as typeof import('node:v8')
  const vm = require('node:vm') as typeof import('node:vm')
  v8.setFlagsFromString('--expose-gc')
  const collect = vm.runInNewContext('gc') as (options: CollectionOptions) => void
  v8.setFlagsFromString('--no-expose-gc')
  collect({ type: 'major', flavor: 'last-resort' })
}
