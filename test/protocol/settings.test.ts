import fc from 'fast-check'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type ErrorCode, ERRORS, TidemarkError } from '../../protocol/errors.ts'
import { decodeErrorDetail, encodeErrorDetail, errorOfStatus, fromErrorDetail, toErrorDetail } from '../../protocol/error-wire.ts'
import { topicCollisionKey, validateTopicName } from '../../protocol/names.ts'
import { DEFAULT_TOPIC_CONFIG, isCompacted, isRetentionLimited, parseTopicConfig, TOPIC_SETTINGS } from '../../protocol/topic-config.ts'
import { formatDuration, formatSize, parseDuration, parseSize } from '../../protocol/units.ts'
import { VERSION } from '../../protocol/version.ts'

describe('durations and sizes', () => {
  it.each([
    ['500ms', 500],
    ['30s', 30_000],
    ['1.5h', 5_400_000],
    ['7d', 604_800_000],
    [250, 250],
    ['250', 250],
  ])('%j is %d ms', (text, ms) => {
    expect(parseDuration(text, 'x')).toBe(ms)
  })

  it.each([
    ['1KiB', 1024],
    ['1kb', 1000],
    ['2GiB', 2 ** 31],
    ['64 MiB', 2 ** 26],
    ['10B', 10],
  ])('%j is %d bytes', (text, bytes) => {
    expect(parseSize(text, 'x')).toBe(bytes)
  })

  it.each(['', '-1', 'soon', '5 parsecs', '1e9', '9999999999999999999d'])('%j is refused, naming the setting', (text) => {
    expect(() => parseDuration(text, 'linger')).toThrow(/linger/)
    expect(() => parseSize(text, 'segment.bytes')).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
  })

  it('are shown in the largest unit that is exact', () => {
    expect([formatDuration(604_800_000), formatDuration(1500), formatSize(1048576), formatSize(1000)]).toEqual([
      '7d',
      '1500ms',
      '1MiB',
      '1000B',
    ])
  })
})

describe('topic settings', () => {
  it('have defaults that pass their own rules', () => {
    expect(DEFAULT_TOPIC_CONFIG).toMatchObject({
      durability: 'fsync',
      partitioner: 'murmur3',
      retentionMs: 604_800_000,
      retentionBytes: Number.POSITIVE_INFINITY,
    })
  })

  it.each([
    [{ 'retention.ms': 'never' }, /retention.ms/],
    [{ 'segment.bytes': '1' }, /allowed is 64KiB/],
    [{ durability: 'FSYNC' }, /fsync, replicated, none/],
    [{ 'retention.mss': '1' }, /did you mean retention.ms/],
    [{ 'min.insync.replicas': '0' }, /allowed is 1/],
    [{ 'cleanup.policy': 'shred' }, /delete, compact/],
    [{ 'min.cleanable.dirty.ratio': '1.5' }, /allowed is 0 to 1/],
    [{ 'min.cleanable.dirty.ratio': 'half' }, /such as 0.5/],
  ])('%j is refused', (texts, message) => {
    expect(() => parseTopicConfig(texts)).toThrow(message)
  })

  it('know "unlimited", also in the form of -1', () => {
    expect(parseTopicConfig({ 'retention.ms': '-1' }).retentionMs).toBe(Number.POSITIVE_INFINITY)
    expect(parseTopicConfig({ 'retention.bytes': 'unlimited' }).retentionBytes).toBe(Number.POSITIVE_INFINITY)
  })

  it.each([
    ['delete', false, true],
    ['compact', true, false],
    ['delete,compact', true, true],
    ['compact,delete', true, true],
  ])('say with %j what happens to old data', (policy, compacted, limited) => {
    const config = parseTopicConfig({ 'cleanup.policy': policy, 'min.cleanable.dirty.ratio': '0.25' })
    expect([isCompacted(config), isRetentionLimited(config), config.minCleanableDirtyRatio]).toEqual([compacted, limited, 0.25])
  })

  it('of a name too long to be a slip of the hand are refused without a guess', () => {
    const name = `retention.ms${'x'.repeat(1_000_000)}`
    expect(() => parseTopicConfig({ [name]: '1' })).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
    expect(() => parseTopicConfig({ [name]: '1' })).not.toThrow(/did you mean/)
  })

  it('each fill a field of their own', () => {
    const fields = Object.values(TOPIC_SETTINGS).map(({ field }) => field)
    expect(new Set(fields).size).toBe(fields.length)
  })
})

describe('topic names', () => {
  it.each(['a', 'orders.v1', 'A_b-c.9', 'x'.repeat(249)])('%j is allowed', (name) => validateTopicName(name))

  it.each(['', '.', '..', 'a/b', 'a b', 'ä', 'a\0', 'x'.repeat(250)])('%j is refused', (name) => {
    expect(() => validateTopicName(name)).toThrow(expect.objectContaining({ code: 'INVALID_TOPIC_NAME' }))
  })

  it('that differ only in dots and underscores collide', () => {
    expect(topicCollisionKey('a.b_c')).toBe(topicCollisionKey('a_b.c'))
  })
})

describe('errors', () => {
  it('have numbers of their own', () => {
    const numbers = Object.values(ERRORS).map(({ number }) => number)
    expect(new Set(numbers).size).toBe(numbers.length)
  })

  it('each have a section in docs/errors.md, and nothing else has one', () => {
    const sections = [...readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8').matchAll(/^## (\w+)$/gm)].map(
      ([, code]) => code,
    )
    expect(new Set(sections)).toEqual(new Set(Object.keys(ERRORS)))
    expect(sections).toHaveLength(Object.keys(ERRORS).length)
  })

  it('cross the wire', () => {
    const error = new TidemarkError('NOT_LEADER', 'go there', {
      retryAfterMs: 5,
      leader: { nodeId: 2, leaderEpoch: 7, host: 'h', port: 9 },
    })
    expect(decodeErrorDetail(encodeErrorDetail(error))).toMatchObject({
      code: 'NOT_LEADER',
      message: 'go there',
      retryAfterMs: 5,
      retriable: true,
      leader: { nodeId: 2 },
    })
    expect(decodeErrorDetail(Buffer.from('ffff', 'hex'))).toBeUndefined()
  })

  it.each(Object.keys(ERRORS) as ErrorCode[])('%s comes back from the wire as it went', (code) => {
    const error = new TidemarkError(code, 'what happened', { retryAfterMs: 7 })
    expect(decodeErrorDetail(encodeErrorDetail(error))).toMatchObject({
      code,
      message: 'what happened',
      retriable: ERRORS[code].retriable,
      retryAfterMs: 7,
      leader: undefined,
    })
  })

  it('that are not ours are no detail, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const error = decodeErrorDetail(Buffer.from(bytes))
        expect(error === undefined || TidemarkError.is(error)).toBe(true)
      }),
    )
  })

  it.each([
    [1, 'CANCELLED'],
    [3, 'INVALID_REQUEST'],
    [4, 'REQUEST_TIMED_OUT'],
    [8, 'LIMIT_EXCEEDED'],
    [12, 'UNSUPPORTED'],
    [14, 'UNAVAILABLE'],
    [2, 'INTERNAL'],
    [99, 'INTERNAL'],
  ])('status %d without a detail is %s', (status, code) => {
    expect(errorOfStatus(status, 'details')).toMatchObject({ code, message: 'details' })
    expect(errorOfStatus(status, '').message).toBe(ERRORS[code as ErrorCode].text)
  })

  it('of a newer node keep their retriability and their name', () => {
    const error = fromErrorDetail({ ...toErrorDetail(new TidemarkError('INTERNAL', 'later')), code: 'FROM_THE_FUTURE', retriable: true })
    expect(error).toMatchObject({ code: 'INTERNAL', retriable: true, message: 'FROM_THE_FUTURE: later' })
  })
})

it('the version is that of package.json', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
  expect(VERSION).toBe(version)
})
