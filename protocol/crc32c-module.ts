/**
 * The WebAssembly module behind `crc32c.ts`, assembled here instruction by instruction so that it can be read.
 *
 * ```
 * memory: 16 tables of 256 int32, then the window with the input
 * run(register, length):
 *   at = window; end = window + length
 *   while at < end:
 *     low = load64(at) ^ register; high = load64(at + 8); at += 16
 *     register = table15[byte 0 of low] ^ table14[byte 1 of low] ^ … ^ table0[byte 7 of high]
 *   return register
 * ```
 */

export const CRC_BLOCK_BYTES = 16
export const CRC_TABLE_COUNT = 16

const TABLE_BYTES = 1024
const PAGE_COUNT = 2

/** Where the window begins; it goes to the end of memory and is a whole number of blocks. */
export const CRC_WINDOW_AT: number = CRC_TABLE_COUNT * TABLE_BYTES

const TYPE = { i32: 0x7f, i64: 0x7e, func: 0x60, noResult: 0x40 }
const SECTION = { type: 1, function: 3, memory: 5, export: 7, code: 10 }
const EXPORT = { func: 0, memory: 2 }

const OP = {
  loop: 0x03,
  if: 0x04,
  end: 0x0b,
  br: 0x0c,
  get: 0x20,
  set: 0x21,
  tee: 0x22,
  i32Load: 0x28,
  i64Load: 0x29,
  i32Const: 0x41,
  i64Const: 0x42,
  i32LessUnsigned: 0x49,
  i32Add: 0x6a,
  i32Xor: 0x73,
  i64And: 0x83,
  i64Xor: 0x85,
  i64ShiftLeft: 0x86,
  i64ShiftRightUnsigned: 0x88,
  i32WrapI64: 0xa7,
  i64ExtendUnsigned: 0xad,
}

/** The parameters come first. */
const LOCAL = { register: 0, end: 1, at: 2, low: 3, high: 4 }

/** log2 of the alignment that a load promises: none, as the input may lie anywhere; tables are aligned. */
const UNALIGNED = 0
const ALIGNED_32 = 2

/** The bytes of the module. Exports `memory` and `run`. */
export function crcModule(): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(SECTION.type, [1, TYPE.func, 2, TYPE.i32, TYPE.i32, 1, TYPE.i32]),
    ...section(SECTION.function, [1, 0]),
    ...section(SECTION.memory, [1, 0, PAGE_COUNT]),
    ...section(SECTION.export, [2, ...name('memory'), EXPORT.memory, 0, ...name('run'), EXPORT.func, 0]),
    ...section(SECTION.code, [1, ...sized([...locals(), ...body(), OP.end])]),
  ])
}

function locals(): number[] {
  return [2, 1, TYPE.i32, 2, TYPE.i64]
}

function body(): number[] {
  return [
    ...[OP.i32Const, ...signed(CRC_WINDOW_AT), OP.tee, LOCAL.at],
    ...[OP.get, LOCAL.end, OP.i32Add, OP.set, LOCAL.end],
    ...[OP.loop, TYPE.noResult, OP.get, LOCAL.at, OP.get, LOCAL.end, OP.i32LessUnsigned, OP.if, TYPE.noResult],
    ...step(),
    ...[OP.br, 1, OP.end, OP.end],
    ...[OP.get, LOCAL.register],
  ]
}

function step(): number[] {
  return [
    ...[OP.get, LOCAL.at, OP.i64Load, UNALIGNED, 0],
    ...[OP.get, LOCAL.register, OP.i64ExtendUnsigned, OP.i64Xor, OP.set, LOCAL.low],
    ...[OP.get, LOCAL.at, OP.i64Load, UNALIGNED, 8, OP.set, LOCAL.high],
    ...lookUpWord(LOCAL.low, 15),
    ...lookUpWord(LOCAL.high, 7),
    ...[OP.i32Xor, OP.set, LOCAL.register],
    ...[OP.get, LOCAL.at, OP.i32Const, ...signed(CRC_BLOCK_BYTES), OP.i32Add, OP.set, LOCAL.at],
  ]
}

/** The look-ups of the eight bytes of a word, combined pairwise so that they do not wait for each other. */
function lookUpWord(word: number, firstTable: number): number[] {
  const pair = (byte: number): number[] => [...lookUp(word, byte, firstTable), ...lookUp(word, byte + 1, firstTable), OP.i32Xor]
  const four = (byte: number): number[] => [...pair(byte), ...pair(byte + 2), OP.i32Xor]
  return [...four(0), ...four(4), OP.i32Xor]
}

/** Pushes an entry of the table for one byte of `word`, found at four times the byte's value. */
function lookUp(word: number, byte: number, firstTable: number): number[] {
  const shift = byte * 8 - 2
  const shifted = shift < 0 ? [OP.i64Const, 2, OP.i64ShiftLeft] : [OP.i64Const, ...signed(shift), OP.i64ShiftRightUnsigned]
  return [
    ...[OP.get, word, ...shifted, OP.i64Const, ...signed(0x3fc), OP.i64And, OP.i32WrapI64],
    ...[OP.i32Load, ALIGNED_32, ...unsigned((firstTable - byte) * TABLE_BYTES)],
  ]
}

function section(id: number, content: readonly number[]): number[] {
  return [id, ...sized(content)]
}

function sized(content: readonly number[]): number[] {
  return [...unsigned(content.length), ...content]
}

function name(text: string): number[] {
  return sized([...Buffer.from(text, 'latin1')])
}

/** LEB128. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)]
}

/** Signed LEB128 of a value that is not negative: the last byte's bit 6 is its sign and must be clear. */
function signed(value: number): number[] {
  return value < 0x40 ? [value] : [(value & 0x7f) | 0x80, ...signed(value >>> 7)]
}
