/** How long a node takes until it serves again after `kill -9`, against how much it holds. */
import { join } from 'node:path'
import { connect } from '../../client/index.ts'
import { NodeProcess } from '../node-process.ts'
import { type Case, inDirectory, MIB, median, ratioResult, timed } from './harness.ts'
import { fill } from './workload.ts'

const RUNS = 5
const RECORD_BYTES = 1024

export interface Recovery {
  /** From the start of the process until it is ready, when everything was written since it was last started. */
  readonly firstMs: number
  /** The same when only the newest mebibyte was. */
  readonly killedMs: number
  /** The same after a clean stop. */
  readonly stoppedMs: number
}

export function recoveryTimes(totalBytes: number, runs: number): Promise<Recovery> {
  return inDirectory(async (directory) => {
    const node = await NodeProcess.start(join(directory, 'data'), ['--log-level', 'error'])
    try {
      const killed: number[] = []
      const stopped: number[] = []
      const recordCount = Math.ceil(totalBytes / RECORD_BYTES)
      await send(node, recordCount, true)
      for (let run = 0; run < runs; run++) {
        // Between two kills something is written: a node that has nothing new has nothing to look at.
        await send(node, MIB / RECORD_BYTES, false)
        await node.stop('SIGKILL')
        killed.push(await timed(() => node.start()))
        await node.stop()
        stopped.push(await timed(() => node.start()))
      }
      await checkEnd(node, recordCount + runs * (MIB / RECORD_BYTES))
      return { firstMs: killed[0] as number, killedMs: median(killed), stoppedMs: median(stopped) }
    } finally {
      await node.stop()
    }
  })
}

async function send(node: NodeProcess, recordCount: number, isNew: boolean): Promise<void> {
  await using tm = await connect(node.address)
  if (isNew) await tm.admin.createTopic('t', { partitions: 1 })
  await fill(tm, 't', { recordBytes: RECORD_BYTES, recordCount, batchBytes: MIB - 2048 })
}

/** A quick recovery that lost something would be no recovery. */
async function checkEnd(node: NodeProcess, recordCount: number): Promise<void> {
  await using tm = await connect(node.address)
  const [offsets] = await tm.admin.offsets('t')
  if (offsets?.highWatermark !== BigInt(recordCount))
    throw new Error(`${recordCount} records were acknowledged, ${offsets?.highWatermark} are there`)
}

export const recovery: Case = {
  name: 'recovery',
  run: async () => {
    const results = []
    for (const mebibytes of [64, 256, 1024]) {
      const { firstMs, killedMs, stoppedMs } = await recoveryTimes(mebibytes * MIB, RUNS)
      results.push(
        ratioResult({
          name: `ready after kill -9, ${mebibytes} MiB`,
          ours: killedMs,
          baseline: stoppedMs,
          unit: 'ms',
          against: 'ready after a clean stop',
          figures: { 'all of it new ms': firstMs },
        }),
      )
    }
    return results
  },
}
