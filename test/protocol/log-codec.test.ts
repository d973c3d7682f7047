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

describe('a damaged message', () => {
  const request = framed(
    encodeProduceRequest({
      correlationId: 2 ** 40,
      acks: 1,
      timeoutMs: 30_000,
      partitions: [3, 4].map((partition) => {
        return { topic: 'orders', topicId: Buffer.alloc(16, 1), partition, leaderEpochPlusOne: 2, batch: Buffer.from('batch') }
      }),
    }),
  )
  const refusal = { code: 'UNKNOWN_TOPIC', message: 'no such topic', retriable: false, retryAfterMs: 0, leader: undefined }
  const response = framed(
    encodeFetchResponse({
      correlationId: 7,
      partitions: [
        { topic: 'orders', partition: 1, error: undefined, highWatermark: 2 ** 50, logStartOffset: 5, batches: [Buffer.from('batch')] },
        { topic: 'none', partition: 0, error: refusal, highWatermark: 0, logStartOffset: 0, batches: [] },
      ],
    }),
  )
  const decoders = [
    [request, decodeProduceRequest],
    [response, decodeFetchResponse],
  ] as const

  it('is decoded or refused with a code of ours, whatever changed', () => {
    const change = fc.tuple(fc.nat(1000), fc.nat(255))
    fc.assert(
      fc.property(fc.constantFrom(...decoders), fc.array(change, { maxLength: 4 }), fc.nat(1000), ([sound, decode], changes, length) => {
        const bytes = Buffer.from(sound.subarray(0, length))
        for (const [position, byte] of changes) if (position < bytes.length) bytes[position] = byte
        expect(['none', 'INVALID_REQUEST']).toContain(codeOf(() => decode(bytes)))
      }),
      { numRuns: 5000 },
    )
  })

  it.each([
    ['a length beyond the end', '220a0a0161'],
    ['a length of 4 GiB', '22ffffffff0f'],
    ['a length cut off', '22ff'],
    ['a group that never ends', '2b'.repeat(10)],
    ['a field numbered 0', '0001'],
    ['a batch longer than its partition', '22042a0561'],
    ['a correlation id of 2^53', '0880808080808080 10'],
  ])('with %s is refused', (_what, hex) => {
    expect(codeOf(() => decodeProduceRequest(Buffer.from(hex.replaceAll(' ', ''), 'hex')))).toBe('INVALID_REQUEST')
  })

  it('with a million empty partitions is refused before they fill the memory', () => {
    expect(codeOf(() => decodeProduceRequest(Buffer.alloc(200_000, Buffer.from('2200', 'hex'))))).toBe('none')
    expect(codeOf(() => decodeProduceRequest(Buffer.alloc(2_000_000, Buffer.from('2200', 'hex'))))).toBe('INVALID_REQUEST')
    expect(codeOf(() => decodeFetchResponse(Buffer.alloc(2_000_000, Buffer.from('1200', 'hex'))))).toBe('INVALID_REQUEST')
  })

  it('with a high watermark of 2^53 is refused, one below it is not', () => {
    const watermark = (hex: string): Buffer => Buffer.from(`12${'09'}20${hex}`, 'hex')
    expect(decodeFetchResponse(watermark('ffffffffffffff0f')).partitions[0]?.highWatermark).toBe(Number.MAX_SAFE_INTEGER)
    expect(codeOf(() => decodeFetchResponse(watermark('8080808080808010')))).toBe('INVALID_REQUEST')
  })

  it('with fields of another type than known skips them, as the generated code does', () => {
    // Field 5 as a number, a fixed 32 and a fixed 64 nobody knows, a group nobody knows, then partition 6.
    const inner = '2801' + '7d01020304' + '790102030405060708' + '7b0801 7c'.replace(' ', '') + '1806'
    const bytes = Buffer.from(`22${(inner.length / 2).toString(16)}${inner}`, 'hex')
    expect(decodeProduceRequest(bytes).partitions).toEqual(ProduceRequest.decode(bytes).partitions)
    expect(decodeProduceRequest(bytes).partitions[0]?.partition).toBe(6)
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
