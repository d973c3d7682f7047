/** In a file of its own, for a codec is loaded once per process. */
import { gzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { renewChecksum } from '../../protocol/batch-header.ts'
import { loadedCodec } from '../../protocol/compression.ts'
import { compactedConfig, keyedBatch } from './compaction-support.ts'
import { createWorld, openDir, openOrders } from './support.ts'

it('a codec that a compacted topic needs for the first time makes the producer come again, not wait', async () => {
  const log = await openOrders(await openDir(createWorld()), compactedConfig())
  const plain = await keyedBatch([['a', '1']])
  const batch = Buffer.concat([plain.subarray(0, 61), gzipSync(plain.subarray(61))])
  batch.writeInt32BE(batch.length - 12, 8)
  batch.writeInt16BE(1, 21)
  renewChecksum(batch, 0)
  expect(() => log.append(Buffer.from(batch), { leaderEpoch: 0 })).toThrow(expect.objectContaining({ code: 'BUSY', outcome: 'failed' }))
  while (loadedCodec('gzip') === undefined) await new Promise(setImmediate)
  expect(log.append(batch, { leaderEpoch: 0 })).toMatchObject({ baseOffset: 0 })
})
