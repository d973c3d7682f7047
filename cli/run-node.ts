/** Runs a node until it is told to stop. */
import type { LoadedConfig } from '../broker/config.ts'
import type { RunningNode } from '../broker/server.ts'
import { EXIT } from './exit-codes.ts'
import { countBuffersApart } from './external-memory.ts'
import { releaseOnceIdle } from './release-memory.ts'

/** Starts the node, tells `started`, and resolves when it has stopped: after SIGTERM or SIGINT in order, at the second one at once, or because it failed. */
export async function runNode({ config, entries }: LoadedConfig, started: (node: RunningNode) => void | Promise<void>): Promise<void> {
  const [{ startNode }, { createLog }, { nodeRuntime }] = await Promise.all([
    import('../broker/server.ts'),
    import('../broker/logging.ts'),
    import('../runtime/node.ts'),
  ])
  const log = createLog(config, process.stderr.isTTY ?? false)
  const stop = Promise.withResolvers<'signal'>()
  let signalCount = 0
  const onSignal = (): void => {
    if (++signalCount > 1) process.exit(EXIT.interrupted)
    stop.resolve('signal')
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  const node = await startNode(config, nodeRuntime(log), { configEntries: entries })
  await started(node)
  countBuffersApart()
  const memory = releaseOnceIdle()
  const reason = await Promise.race([stop.promise, node.failed])
  if (reason !== 'signal') process.exitCode = EXIT.failed
  const giveUp = setTimeout(() => {
    log.error('node.stop-timed-out', { timeoutMs: config.shutdownTimeoutMs })
    process.exit(EXIT.failed)
  }, config.shutdownTimeoutMs)
  memory.stop()
  await node.close()
  clearTimeout(giveUp)
}
