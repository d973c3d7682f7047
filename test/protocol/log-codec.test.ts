import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FetchResponse, ProduceRequest } from '../../protocol/gen/tidemark/v1/log.ts'
import { decodeFetchResponse, decodeProduceRequest, encodeFetchResponse, encodeProduceRequest } from '../../protocol/log-codec.ts'
import { TidemarkError } from '../../protocol/errors.ts'

const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array))
const int32 = fc.integer()
const uint53 = fc.maxSafeNat()
const error = fc.option(
  fc.record({ code: fc.string(), message: fc.string(), retriable: fc.boolean(), retryAfterMs: fc.nat(), leader: fc.constant(undefined) }),
  { nil: undefined },
)

const produceRequest = fc.record({
  correlationId: uint53,
  acks: fc.constantFrom(0 as const, 1 as const, 2 as const),
  timeoutMs: fc.nat(),
  partitions: fc.array(fc.record({ topic: fc.string(), topicId: bytes, partition: int32, leaderEpochPlusOne: int32, batch: bytes }), {
    maxLength: 4,
  }),
})

const fetchResponse = fc.record({
  correlationId: uint53,
  partitions: fc.array(
    fc.record({
      topic: fc.string(),
      partition: int32,
      error,
      highWatermark: uint53,
      logStartOffset: uint53,
      batches: fc.array(bytes, { maxLength: 3 }),
    }),
    { maxLength: 4 },
  ),
})

/** What grpc-js does with the result of a serialiser. */
function framed(message: Buffer): Buffer {
  const output = Buffer.alloc(message.length)
  message.copy(output, 0)
  return output
}

describe('the codec of the hot messages', () => {
  it('writes produce requests that the generated code reads, and the other way round', () => {
    fc.assert(
      fc.property(produceRequest, (message) => {
        const ours = framed(encodeProduceRequest(message))
        expect(ProduceRequest.decode(ours)).toEqual(message)
        expect(decodeProduceRequest(Buffer.from(ProduceRequest.encode(message).finish()))).toEqual(message)
        expect(ours).toEqual(Buffer.from(ProduceRequest.encode(message).finish()))
      }),
    )
  })

  it('writes fetch responses that the generated code reads, and the other way round', () => {
    fc.assert(
      fc.property(fetchResponse, (message) => {
        const joined = { ...message, partitions: message.partitions.map((one) => ({ ...one, batches: Buffer.concat(one.batches) })) }
        expect(FetchResponse.decode(framed(encodeFetchResponse(message)))).toEqual(joined)
        const decoded = decodeFetchResponse(Buffer.from(FetchResponse.encode(joined).finish()))
        expect(decoded.partitions.map((one) => Buffer.concat(one.batches))).toEqual(joined.partitions.map((one) => one.batches))
      }),
    )
  })

  it('hands out slices of the message, not copies', () => {
    const message = framed(
      encodeProduceRequest({
        correlationId: 1,
        acks: 0,
        timeoutMs: 0,
        partitions: [{ topic: 't', topicId: Buffer.alloc(0), partition: 0, leaderEpochPlusOne: 0, batch: Buffer.from('abc') }],
      }),
    )
    expect(decodeProduceRequest(message).partitions[0]?.batch.buffer).toBe(message.buffer)
  })

  it('refuses what is not a message with a code of ours', () => {
    fc.assert(
      fc.property(bytes, (garbage) => {
        for (const decode of [decodeProduceRequest, decodeFetchResponse])
          expect(['none', 'INVALID_REQUEST']).toContain(codeOf(() => decode(garbage)))
      }),
      { numRuns: 3000 },
    )
  })

  it('skips fields it does not know, and refuses numbers beyond 2^53', () => {
    const unknown = Buffer.from('f2070361626308 01'.replace(' ', ''), 'hex')
    expect(decodeProduceRequest(unknown).correlationId).toBe(1)
    expect(() => decodeProduceRequest(Buffer.from('08ffffffffffffffffff01', 'hex'))).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    )
  })
})

function codeOf(work: () => unknown): string {
  try {
    work()
    return 'none'
  } catch (error) {
    return TidemarkError.is(error) ? error.code : `no error of ours: ${String(error)}`
  }
}
