import { describe, expect, it } from 'vitest'
import { parseConsumeFormat } from '../../cli/consume-format.ts'
import type { Message } from '../../client/index.ts'

const message: Message<Buffer, Buffer> = {
  topic: 'orders',
  partition: 3,
  offset: 42n,
  timestamp: 1_795_000_000_000,
  key: Buffer.from('k€y'),
  value: Buffer.from('the value'),
  headers: new Map([
    ['source', Buffer.from('import')],
    ['empty', null],
  ]),
  raw: Buffer.from('the value'),
  rawKey: null,
}
const tombstone = { ...message, key: null, value: null, raw: null, headers: new Map() }

describe('a format', () => {
  it.each([
    ['%t %p %o %k %v %s', 'orders 3 42 k€y the value the value'],
    ['%T', '1795000000000'],
    ['%h', 'source=import,empty='],
    ['%K %S %V', '5 9 9'],
    ['%k\\t%v\\n', 'k€y\tthe value\n'],
    ['100%% \\\\ \\q', '100% \\ \\q'],
    ['no letters', 'no letters'],
    ['%t%%%t', 'orders%orders'],
    ['a\nb', 'a\nb'],
    ['', ''],
  ])('%j prints %j', (format, expected) => {
    expect(parseConsumeFormat(format)(message)).toBe(expected)
  })

  it('shows what is not there as nothing, with length -1', () => {
    expect(parseConsumeFormat('[%k|%v|%h|%K|%S]')(tombstone)).toBe('[|||-1|-1]')
  })

  it.each([
    ['%x', /"%x".*%t %p/],
    ['100%', /"%"/],
  ])('%j is refused with the letters there are', (format, expected) => {
    expect(() => parseConsumeFormat(format)).toThrow(expect.objectContaining({ code: 'USAGE', message: expect.stringMatching(expected) }))
  })
})
