import { stateOf } from '../../cli/cluster-nodes.ts'
import { describe, expect, it } from 'vitest'
import { pairOf, wholeNumber } from '../../cli/arguments.ts'
import { EXIT, exitCodeOf } from '../../cli/exit-codes.ts'
import { plainTable } from '../../cli/output.ts'
import { recordMaker } from '../../cli/produce.ts'
import { type ErrorCode, ERRORS } from '../../protocol/errors.ts'

const usage = (message: RegExp) => expect.objectContaining({ code: 'USAGE', message: expect.stringMatching(message) })
const bytes = (text: string) => Buffer.from(text)

describe('how a line becomes a record', () => {
  const plain = {}

  it('as its value, with the key, headers and partition of the flags', () => {
    expect(recordMaker(plain)(bytes('a:b'), 1)).toEqual({ value: bytes('a:b') })
    expect(recordMaker({ key: 'k', header: ['a=1', 'b=x=y'], partition: '2' })(bytes('v'), 1)).toEqual({
      key: bytes('k'),
      value: bytes('v'),
      headers: { a: '1', b: 'x=y' },
      partition: 2,
    })
  })

  it.each([
    [':', 'k:v:w', 'k', 'v:w'],
    [':', ':v', '', 'v'],
    [':', 'k:', 'k', ''],
    ['=>', 'k=>v', 'k', 'v'],
    ['→', 'ä→ö', 'ä', 'ö'],
  ])('cut at the first %j: %j', (keySeparator, line, key, value) => {
    expect(recordMaker({ ...plain, keySeparator })(bytes(line), 1)).toEqual({ key: bytes(key), value: bytes(value) })
  })

  it('refuses a line without the separator, saying which and showing its beginning only', () => {
    const line = bytes('x'.repeat(500))
    expect(() => recordMaker({ ...plain, keySeparator: ':' })(line, 7)).toThrow(usage(/^line 7 has no ":": "x{80}"$/))
  })

  it.each([
    [{ ...plain, key: 'k', keySeparator: ':' }, /either --key or --key-separator/],
    [{ ...plain, keySeparator: '' }, /is empty/],
    [{ header: ['nothing'] }, /"nothing" is not of the form key=value/],
    [{ ...plain, partition: '-1' }, /--partition is "-1", expected a whole number/],
  ])('refuses %j', (flags, message) => {
    expect(() => recordMaker(flags)).toThrow(usage(message))
  })
})

describe('arguments', () => {
  it('of the form key=value keep every further =', () => {
    expect([pairOf('a=b=c'), pairOf('a=')]).toEqual([
      ['a', 'b=c'],
      ['a', ''],
    ])
    expect(() => pairOf('=b')).toThrow(usage(/"=b"/))
  })

  it.each(['', '1.5', '-1', '1e3', 'ten', '99999999999999999999'])('%j is no whole number', (text) => {
    expect(() => wholeNumber(text, '--num')).toThrow(usage(/--num is/))
  })
})

describe('a plain table', () => {
  it('is aligned, with a header, and without spaces at the ends', () => {
    const rows = [
      { topic: 'a', logEnd: 10n, note: '' },
      { topic: 'longer', logEnd: 5, note: 'x' },
    ]
    expect(plainTable(rows)).toBe('topic   log end  note\na       10\nlonger  5        x\n')
  })

  it('has the columns of all rows, and a dash for what a row lacks', () => {
    expect(plainTable([{ a: true }, { b: [1, 2] }])).toBe('a    b\nyes  -\n-    [1,2]\n')
  })

  it('of nothing is nothing', () => {
    expect(plainTable([])).toBe('')
  })

  it('may have very many rows', () => {
    const rows = Array.from({ length: 200_000 }, (_, offset) => ({ offset }))
    expect(plainTable(rows).length).toBeGreaterThan(1_000_000)
  })
})

describe('exit codes', () => {
  it.each([
    ['USAGE', EXIT.usage],
    ['INVALID_CONFIG', EXIT.usage],
    ['UNSUPPORTED_COMPRESSION', EXIT.usage],
    ['UNKNOWN_TOPIC', EXIT.notFound],
    ['UNKNOWN_PARTITION', EXIT.notFound],
    ['INSECURE_LISTEN', EXIT.refused],
    ['UNAVAILABLE', EXIT.failed],
    ['INTERNAL', EXIT.failed],
  ] satisfies [ErrorCode, number][])('%s ends with %d', (code, exit) => {
    expect(exitCodeOf(code)).toBe(exit)
  })

  it('no error ends as success or as unhealthy', () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[])
      expect([EXIT.failed, EXIT.usage, EXIT.notFound, EXIT.refused]).toContain(exitCodeOf(code))
  })
})

describe('the state of a node, in a word', () => {
  const node = { alive: true, shuttingDown: false, draining: false }
  it.each([
    [node, 3, 'alive'],
    [{ ...node, alive: false }, 3, 'silent'],
    [{ ...node, shuttingDown: true }, 3, 'stopping'],
    [{ ...node, draining: true }, 3, 'draining'],
    [{ ...node, draining: true }, undefined, 'draining'],
    [{ ...node, draining: true }, 0, 'drained'],
    [{ ...node, alive: false, draining: true }, 3, 'silent, draining'],
  ])('%j with %j replicas is %s', (state, replicas, word) => {
    expect(stateOf(state, replicas)).toBe(word)
  })
})
