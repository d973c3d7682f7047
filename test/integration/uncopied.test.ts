import { afterEach, expect, it, vi } from 'vitest'
import { connect } from '../../client/index.ts'
import { ScatterMessage } from '../../protocol/scatter-message.ts'
import { startTidemark } from '../../testing/index.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

it('a node sends batches as the buffers they lie in, large and small ones, whole and in order', async () => {
  await using node = await startTidemark()
  await using tm = await connect(node.address)
  await tm.admin.createTopic('t', { partitions: 1 })
  const values = Array.from({ length: 60 }, (_, n) => String(n).repeat(n % 3 === 0 ? 40_000 : 5))
  // Each a batch of its own.
  for (const value of values) await tm.producer({ batchBytes: 100 }).send('t', { value })
  const copies = vi.spyOn(ScatterMessage.prototype, 'copy')
  for (const fetchBytes of ['16MiB', '100KiB', '1B']) {
    const read: (string | undefined)[] = []
    for await (const { value } of tm.consumer('t', { start: 'earliest', end: 'now', fetchBytes })) read.push(value?.toString())
    expect(read).toEqual(values)
  }
  expect(copies).not.toHaveBeenCalled()
})

it('a producer sends batches as the buffers they lie in, once its stream has brought an answer, each as it was', async () => {
  await using node = await startTidemark()
  await using tm = await connect(node.address)
  await tm.admin.createTopic('t', { partitions: 3 })
  const producer = tm.producer({ batchBytes: 20_000 })
  await producer.send('t', { value: 'first', partition: 0 })
  const copies = vi.spyOn(ScatterMessage.prototype, 'copy')
  const values = Array.from({ length: 300 }, (_, n) => String(n).repeat(n % 5 === 0 ? 4000 : 5))
  // Batch after batch in the same few buffers.
  for (let from = 0; from < values.length; from += 20)
    await Promise.all(values.slice(from, from + 20).map((value, n) => producer.send('t', { value, partition: n % 3 })))
  expect(copies).not.toHaveBeenCalled()
  const read: (string | undefined)[] = []
  for await (const { value } of tm.consumer('t', { start: 'earliest', end: 'now' })) read.push(value?.toString())
  expect(read).toHaveLength(1 + values.length)
  expect(new Set(read)).toEqual(new Set(['first', ...values]))
})
