import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { splitLines } from '../../cli/lines.ts'

async function* chunks(...pieces: readonly (string | Buffer)[]): AsyncGenerator<Buffer> {
  for (const piece of pieces) yield Buffer.from(piece)
}

async function lines(input: AsyncIterable<Buffer>, maxBytes?: number): Promise<Buffer[]> {
  return (await Array.fromAsync(splitLines(input, maxBytes))).flat()
}

const texts = async (...pieces: readonly string[]) => (await lines(chunks(...pieces))).map(String)

describe('lines', () => {
  it.each([
    [[], []],
    [['a\nb\n'], ['a', 'b']],
    [['a\nb'], ['a', 'b']],
    [
      ['a', 'b\nc', '\n'],
      ['ab', 'c'],
    ],
    [['\n\n'], ['', '']],
    [['a\r\nb\r\n'], ['a', 'b']],
    [
      ['a\r', '\nb\r'],
      ['a', 'b'],
    ],
    [['a\rb\n'], ['a\rb']],
    [['one\u2028line\u2029\u0085still\n'], ['one\u2028line\u2029\u0085still']],
  ])('%j are %j', async (pieces, expected) => {
    expect(await texts(...pieces)).toEqual(expected)
  })

  it('keep bytes that are not UTF-8', async () => {
    const line = Buffer.from([0xff, 0x00, 0xc3, 0x28])
    expect(await lines(chunks(Buffer.concat([line, Buffer.from('\n')])))).toEqual([line])
  })

  it('do not depend on how the input was cut', async () => {
    const piece = fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes.map((byte) => (byte % 3 === 0 ? 0x0a : byte))))
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
        expect(await lines(chunks(...pieces))).toEqual(await lines(chunks(Buffer.concat(pieces))))
      }),
    )
  })

  it('without an end are refused before they fill the memory', async () => {
    async function* endless(): AsyncGenerator<Buffer> {
      for (;;) yield Buffer.alloc(1000, 'x')
    }
    await expect(lines(endless(), 10_000)).rejects.toMatchObject({ code: 'USAGE', message: 'a line has more than 10000 bytes' })
  })
})
