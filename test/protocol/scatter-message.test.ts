import * as grpc from '@grpc/grpc-js'
import { afterEach, expect, it } from 'vitest'
import { FetchRequest, ProduceResponse } from '../../protocol/gen/tidemark/v1/log.ts'
import { type FetchResponseMessage, type LogHandlers, logService, type ProduceRequestMessage } from '../../protocol/log-codec.ts'
import { ScatterMessage } from '../../protocol/scatter-message.ts'

/** What the codec's messages promise to grpc-js, through a real client and server: an upgrade that asks for more must fail here. */

interface TypedClient extends grpc.Client {
  produce(request: ProduceRequestMessage, callback: grpc.requestCallback<ProduceResponse>): grpc.ClientUnaryCall
  fetch(request: FetchRequest, callback: grpc.requestCallback<FetchResponseMessage>): grpc.ClientUnaryCall
  produceStream(): grpc.ClientDuplexStream<ProduceRequestMessage, ProduceResponse>
  fetchStream(): grpc.ClientDuplexStream<FetchRequest, FetchResponseMessage>
}

const LogClient = grpc.makeClientConstructor(logService, 'tidemark.v1.Log') as unknown as new (
  ...parameters: ConstructorParameters<typeof grpc.Client>
) => TypedClient

const opened: (() => void)[] = []
afterEach(() => {
  for (const close of opened.splice(0)) close()
})

const batches = [Buffer.alloc(70_000, 'a'), Buffer.from([0, 1, 2, 255]), Buffer.alloc(3, 'c')]

const fetchRequest: FetchRequest = { ...FetchRequest.decode(Buffer.alloc(0)), correlationId: 9 }

function produceRequest(correlationId: number): ProduceRequestMessage {
  const entry = { topic: 'orders', topicId: Buffer.alloc(16, 5), leaderEpochPlusOne: 3 }
  return { correlationId, acks: 0, timeoutMs: 500, partitions: batches.map((batch, partition) => ({ ...entry, partition, batch })) }
}

function fetchResponse(correlationId: number): FetchResponseMessage {
  const result = { topic: 'orders', partition: 1, error: undefined, highWatermark: 2 ** 52, logStartOffset: 4 }
  return { correlationId, partitions: [{ ...result, batches }] }
}

/** A node that notes what it was sent; its unary produce is unavailable `failures` times first. */
async function start(seen: ProduceRequestMessage[], failures = 0, options: grpc.ChannelOptions = {}): Promise<TypedClient> {
  let failuresLeft = failures
  const answer = (request: ProduceRequestMessage): ProduceResponse => {
    seen.push(request)
    return { ...ProduceResponse.decode(Buffer.alloc(0)), correlationId: request.correlationId }
  }
  const handlers: Partial<LogHandlers> = {
    produce: (call, callback) => {
      const response = answer(call.request)
      if (failuresLeft-- > 0) callback({ code: grpc.status.UNAVAILABLE })
      else callback(null, response)
    },
    fetch: (call, callback) => callback(null, fetchResponse(call.request.correlationId)),
    produceStream: (call) => {
      call.on('data', (request: ProduceRequestMessage) => call.write(answer(request)))
      call.on('end', () => call.end())
    },
    fetchStream: (call) => {
      call.on('data', (request: FetchRequest) => call.write(fetchResponse(request.correlationId)))
      call.on('end', () => call.end())
    },
  }
  const server = new grpc.Server()
  server.addService(logService, handlers as grpc.UntypedServiceImplementation)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)))
  })
  const client = new LogClient(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), options)
  opened.push(
    () => client.close(),
    () => server.forceShutdown(),
  )
  return client
}

function asPromise<T>(call: (callback: grpc.requestCallback<T>) => unknown): Promise<T> {
  return new Promise((resolve, reject) => call((error, response) => (error ? reject(error) : resolve(response as T))))
}

it('requests and answers cross unary calls unharmed', async () => {
  const seen: ProduceRequestMessage[] = []
  const client = await start(seen)
  await asPromise<ProduceResponse>((callback) => client.produce(produceRequest(1), callback))
  expect(seen).toEqual([produceRequest(1)])
  const response = await asPromise<FetchResponseMessage>((callback) => client.fetch(fetchRequest, callback))
  const expected = fetchResponse(9)
  expect(response).toEqual({ ...expected, partitions: [{ ...expected.partitions[0], batches: [Buffer.concat(batches)] }] })
})

it('requests and answers cross streams unharmed, many in flight', async () => {
  const seen: ProduceRequestMessage[] = []
  const client = await start(seen)
  const produce = client.produceStream()
  const answers: number[] = []
  produce.on('data', (answer: ProduceResponse) => answers.push(answer.correlationId))
  for (let id = 1; id <= 20; id++) produce.write(produceRequest(id))
  produce.end()
  await new Promise((resolve, reject) => produce.on('end', resolve).on('error', reject))
  expect(answers).toEqual(Array.from({ length: 20 }, (_, index) => index + 1))
  expect(seen[19]).toEqual(produceRequest(20))

  const fetch = client.fetchStream()
  const fetched: FetchResponseMessage[] = []
  fetch.on('data', (answer: FetchResponseMessage) => fetched.push(answer))
  for (let round = 0; round < 5; round++) fetch.write(fetchRequest)
  fetch.end()
  await new Promise((resolve, reject) => fetch.on('end', resolve).on('error', reject))
  expect(fetched.map(({ partitions }) => Buffer.concat(partitions[0]?.batches ?? []))).toEqual(Array(5).fill(Buffer.concat(batches)))
})

it('a request that grpc-js itself retries arrives the same the second time', async () => {
  const seen: ProduceRequestMessage[] = []
  const retryPolicy = { maxAttempts: 3, initialBackoff: '0.01s', maxBackoff: '0.01s', backoffMultiplier: 1 }
  const serviceConfig = { methodConfig: [{ name: [{}], retryPolicy: { ...retryPolicy, retryableStatusCodes: ['UNAVAILABLE'] } }] }
  const client = await start(seen, 1, { 'grpc.service_config': JSON.stringify(serviceConfig) })
  await asPromise<ProduceResponse>((callback) => client.produce(produceRequest(1), callback))
  expect(seen).toEqual([produceRequest(1), produceRequest(1)])
})

it('a request beyond the limit of the channel is measured and refused', async () => {
  const client = await start([], 0, { 'grpc.max_send_message_length': 1000 })
  await expect(asPromise<ProduceResponse>((callback) => client.produce(produceRequest(1), callback))).rejects.toMatchObject({
    code: grpc.status.RESOURCE_EXHAUSTED,
  })
})

it('a request that cannot be decoded fails the call, and the next one works', async () => {
  const seen: ProduceRequestMessage[] = []
  const client = await start(seen)
  const raw = asPromise<Buffer>((callback) =>
    client.makeUnaryRequest(
      '/tidemark.v1.Log/Produce',
      (bytes: Buffer) => bytes,
      (bytes) => bytes,
      Buffer.from('22ff', 'hex'),
      callback,
    ),
  )
  await expect(raw).rejects.toMatchObject({ code: grpc.status.INTERNAL })
  await asPromise<ProduceResponse>((callback) => client.produce(produceRequest(2), callback))
  expect(seen).toHaveLength(1)
})

it('a message is as long as its pieces and copies itself to where it is told', () => {
  const message = new ScatterMessage([Buffer.from('ab'), Buffer.alloc(0), Buffer.from('cde')])
  expect([message.length, message.byteLength]).toEqual([5, 5])
  const target = Buffer.alloc(8, '.')
  expect(message.copy(target, 2)).toBe(5)
  expect(target.toString()).toBe('..abcde.')
})
