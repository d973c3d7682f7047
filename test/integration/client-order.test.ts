import { expect, it } from 'vitest'
import { startTidemark } from '../../testing/index.ts'

it('a seek in the middle of a batch takes effect with the next message', async () => {
  await using node = await startTidemark()
  const tm = await node.connect()
  await tm.admin.createTopic('t', { partitions: 1 })
  await tm.producer().send(
    't',
    Array.from({ length: 10 }, (_, n) => ({ value: `${n}` })),
  )
  const consumer = tm.consumer('t', { start: 'earliest', end: 'now' })
  const seen: string[] = []
  for await (const message of consumer) {
    seen.push(String(message.value))
    if (seen.length === 3) await consumer.seek({ topic: 't', partition: 0, offset: 8n })
  }
  expect(seen).toEqual(['0', '1', '2', '8', '9'])
})

it('a handler that stops its consumer gets no further message', async () => {
  await using node = await startTidemark()
  const tm = await node.connect()
  await tm.admin.createTopic('t', { partitions: 1 })
  await tm.producer().send(
    't',
    Array.from({ length: 10 }, (_, n) => ({ value: `${n}` })),
  )
  const stop = new AbortController()
  const seen: string[] = []
  await tm.consumer('t', { start: 'earliest' }).run(
    (message) => {
      seen.push(String(message.value))
      if (seen.length === 3) stop.abort()
    },
    { signal: stop.signal },
  )
  expect(seen).toEqual(['0', '1', '2'])
})

it('records offered before their topic is known are delivered once it is', async () => {
  await using node = await startTidemark()
  const tm = await node.connect()
  await tm.admin.createTopic('t', { partitions: 1 })
  const producer = tm.producer({})
  for (let n = 0; n < 100; n++) while (!producer.enqueue('t', { value: `${n}` })) await producer.ready()
  await producer.flush()
  expect(await tm.admin.offsets('t')).toMatchObject([{ highWatermark: 100n }])
})

it('records stay in order when the first batches of a producer are refused', async () => {
  await using node = await startTidemark({ config: { limits: { produceInflightBytesPerPartitionMax: 2048 } } })
  const tm = await node.connect()
  await tm.admin.createTopic('t', { partitions: 1 })
  const sent = Array.from({ length: 200 }, (_, n) => ({ value: `${n} ${'x'.repeat(300)}` }))
  for (let round = 0; round < 3; round++) await tm.producer({ batchBytes: '1KiB' }).send('t', sent)
  const read = (await Array.fromAsync(tm.consumer('t', { start: 'earliest', end: 'now' }))).map((message) => String(message.value))
  const values = sent.map(({ value }) => value)
  expect(read).toEqual([...values, ...values, ...values])
})
