/** Runs a node until it is told to stop. */
import type { LoadedConfig } from '../broker/config.ts'
import type { RunningNode } from '../broker/server.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { Log } from '../runtime/runtime.ts'
import { EXIT } from './exit-codes.ts'
import { countBuffersApart } from './external-memory.ts'
import { releaseOnceIdle } from './release-memory.ts'

/** Starts the node, tells `started`, and resolves when it has stopped: after SIGTERM or SIGINT in order, also while it starts, at the second one at once, or because it failed. */
export async function runNode({ config, entries }: LoadedConfig, started: (node: RunningNode) => void | Promise<void>): Promise<void> {
  const [{ startNode }, { createLog }, { nodeRuntime }] = await Promise.all([
    import('../broker/server.ts'),
    import('../broker/logging.ts'),
    import('../runtime/node.ts'),
  ])
  const log = createLog(config, process.stderr.isTTY ?? false)
  const stop = new AbortController()
  const stopping = Promise.withResolvers<'signal'>()
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(EXIT.interrupted)
    giveUpLate(config.shutdownTimeoutMs, log)
    stop.abort()
    stopping.resolve('signal')
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  const node = await startUnlessStopped(
    () => startNode(config, nodeRuntime(log), { configEntries: entries, signal: stop.signal }),
    stop.signal,
  )
  if (node === undefined) return
  await started(node)
  countBuffersApart()
  const memory = releaseOnceIdle()
  const reason = await Promise.race([stopping.promise, node.failed])
  if (reason !== 'signal') {
    process.exitCode = EXIT.failed
    giveUpLate(config.shutdownTimeoutMs, log)
  }
  memory.stop()
  await node.close()
}

/** Undefined when a signal came first: then it has stopped in order, and that is no failure. */
async function startUnlessStopped(start: () => Promise<RunningNode>, stop: AbortSignal): Promise<RunningNode | undefined> {
  try {
    return await start()
  } catch (error) {
    if (stop.aborted && TidemarkError.is(error) && error.code === 'SHUTTING_DOWN') return undefined
    throw error
  }
}

/** Ends the process if it does not end by itself. */
function giveUpLate(timeoutMs: number, log: Log): void {
  setTimeout(() => {
    log.error('node.stop-timed-out', { timeoutMs })
    process.exit(EXIT.failed)
  }, timeoutMs).unref()
}
