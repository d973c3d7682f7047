/**
 * The WebAssembly module behind `crc32c.ts`, assembled here instruction by instruction so that it can be read.
 *
 * ```
 * memory: 16 tables of 256 int32, then the window with the input
 * run(register, length):
 *   at = window; end = window + length
 *   while at < end:
 *     register ^= load32(at)
 *     register = table15[byte 0 of register] ^ … ^ table12[byte 3 of register] ^ table11[load8(at + 4)] ^ … ^ table0[load8(at + 15)]
 *     at += 16
 *   return register
 * ```
 * Loading a byte is one instruction where taking it out of a word is two: a fourth faster than with two words of eight bytes.
 */

export const CRC_BLOCK_BYTES = 16
export const CRC_TABLE_COUNT = 16

const TABLE_BYTES = 1024
const REGISTER_BYTES = 4
const PAGE_COUNT = 2

/** Where the window begins; it goes to the end of memory and is a whole number of blocks. */
export const CRC_WINDOW_AT: number = CRC_TABLE_COUNT * TABLE_BYTES

const TYPE = { i32: 0x7f, func: 0x60, noResult: 0x40 }
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
  i32Load8Unsigned: 0x2d,
  i32Const: 0x41,
  i32LessUnsigned: 0x49,
  i32Add: 0x6a,
  i32And: 0x71,
  i32Xor: 0x73,
  i32ShiftLeft: 0x74,
  i32ShiftRightUnsigned: 0x76,
}

/** The parameters come first. */
const LOCAL = { register: 0, end: 1, at: 2 }

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
  return [1, 1, TYPE.i32]
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
    ...[OP.get, LOCAL.at, OP.i32Load, UNALIGNED, 0, OP.get, LOCAL.register, OP.i32Xor, OP.set, LOCAL.register],
    ...combine(Array.from({ length: CRC_BLOCK_BYTES }, (_, byte) => lookUp(byte))),
    ...[OP.set, LOCAL.register],
    ...[OP.get, LOCAL.at, OP.i32Const, ...signed(CRC_BLOCK_BYTES), OP.i32Add, OP.set, LOCAL.at],
  ]
}

/** All of them in one, pairwise so that they do not wait for each other. */
function combine(terms: readonly number[][]): number[] {
  if (terms.length === 1) return terms[0] as number[]
  const half = terms.length / 2
  return [...combine(terms.slice(0, half)), ...combine(terms.slice(half)), OP.i32Xor]
}

/** Pushes the entry for one byte of the block, found at four times the byte's value in the table of its place. */
function lookUp(byte: number): number[] {
  const table = unsigned((CRC_TABLE_COUNT - 1 - byte) * TABLE_BYTES)
  return [
    ...(byte < REGISTER_BYTES ? registerByte(byte) : [OP.get, LOCAL.at, OP.i32Load8Unsigned, UNALIGNED, byte]),
    ...[OP.i32Const, 2, OP.i32ShiftLeft, OP.i32Load, ALIGNED_32, ...table],
  ]
}

function registerByte(byte: number): number[] {
  return [OP.get, LOCAL.register, OP.i32Const, ...signed(byte * 8), OP.i32ShiftRightUnsigned, OP.i32Const, ...signed(0xff), OP.i32And]
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
