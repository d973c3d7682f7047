/**
 * LZ4 frames.
 *
 * The packages there are leave a gap: the fast ones are native add-ons, which a client must not need, the WebAssembly
 * ones know no frames, and `lz4js`, pure JavaScript and finished years ago, makes frames of linked blocks, which
 * Java's clients refuse, reads block checksums in the wrong place, checks no bound and allocates 4 MiB for
 * the smallest frame. So the compressor of blocks and the hash are those of `lz4js`, and the frame around them and the
 * decompressor, which must bear hostile input, are written here.
 *
 * ```
 * uint32 magic, FLG, BD, [uint64 content size], header checksum
 * { uint32 length with the top bit for "stored", block, [uint32 block checksum] } …, uint32 0, [uint32 content checksum]
 * ```
 * All little-endian. Checksums of content are not verified: a record batch has its own. Frames that need a dictionary are refused.
 */
import type { Codec } from './compression.ts'
import { corruptStream, tooLarge } from './compression.ts'
import { TidemarkError } from './errors.ts'
import { decompressLz4Block, Lz4Output } from './lz4-block.ts'

const MAGIC = 0x184d2204
const DESCRIPTOR_AT = 4

const FLG = { versionMask: 0xc0, version: 0x40, independent: 0x20, blockChecksum: 0x10, contentSize: 0x08, contentChecksum: 0x04 }
const FLG_RESERVED = 0x02
const FLG_DICTIONARY = 0x01
const BD_RESERVED = 0x8f

/** Largest block by the number in bits 4 to 6 of BD. */
const BLOCK_BYTES_OF: Readonly<Record<number, number>> = { 4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22 }
const STORED_BIT = 0x8000_0000

const WRITTEN_BLOCK_ID = 5
/**
 * The reference decoder wants the last match to begin 12 bytes before the end of the block's room, `lz4js` ends
 * it up to 10 before the end of the data: blocks are therefore never quite full.
 */
const WRITTEN_BLOCK_BYTES = (1 << 18) - 16
const HASH_ENTRIES = 1 << 16

/** What a byte of a block may stand for at most. */
const EXPANSION_MAX = 255

interface Lz4Js {
  /** The bytes written, or 0 when nothing was found to compress. */
  compressBlock(source: Uint8Array, target: Uint8Array, start: number, length: number, hashTable: Uint32Array): number
  compressBound(length: number): number
}

interface XxHash32 {
  hash(seed: number, bytes: Uint8Array, start: number, length: number): number
}

export async function openLz4(): Promise<Codec> {
  const [{ default: lz4 }, { default: xxHash }] = (await Promise.all([import('lz4js'), import('lz4js/xxh32.js')])) as [
    { default: Lz4Js },
    { default: XxHash32 },
  ]
  const hashTable = new Uint32Array(HASH_ENTRIES)
  return {
    compress: (plain) => compressFrame(lz4, xxHash, hashTable, plain),
    decompress: (packed, maxBytes) => decompressFrame(xxHash, packed, maxBytes),
  }
}

function compressFrame(lz4: Lz4Js, xxHash: XxHash32, hashTable: Uint32Array, plain: Buffer): Buffer {
  const header = Buffer.alloc(15)
  header.writeUInt32LE(MAGIC)
  header[DESCRIPTOR_AT] = FLG.version | FLG.independent | FLG.contentSize
  header[DESCRIPTOR_AT + 1] = WRITTEN_BLOCK_ID << 4
  header.writeUIntLE(plain.length, DESCRIPTOR_AT + 2, 6)
  header[14] = (xxHash.hash(0, header, DESCRIPTOR_AT, 10) >>> 8) & 0xff
  const parts: Buffer[] = [header]
  for (let start = 0; start < plain.length; start += WRITTEN_BLOCK_BYTES)
    parts.push(compressBlock(lz4, hashTable, plain.subarray(start, start + WRITTEN_BLOCK_BYTES)))
  parts.push(Buffer.alloc(4))
  return Buffer.concat(parts)
}

/** With its length in front. Blocks know nothing of each other, so the table starts empty. */
function compressBlock(lz4: Lz4Js, hashTable: Uint32Array, plain: Buffer): Buffer {
  hashTable.fill(0)
  const target = Buffer.allocUnsafe(4 + lz4.compressBound(plain.length))
  const packedBytes = lz4.compressBlock(plain, target.subarray(4), 0, plain.length, hashTable)
  const isStored = packedBytes === 0 || packedBytes >= plain.length
  if (isStored) plain.copy(target, 4)
  const length = isStored ? plain.length : packedBytes
  target.writeUInt32LE(isStored ? length + STORED_BIT : length)
  return target.subarray(0, 4 + length)
}

interface FrameHeader {
  readonly position: number
  readonly blockBytesMax: number
  readonly isIndependent: boolean
  readonly contentBytes: number | undefined
  readonly blockChecksumBytes: number
  readonly contentChecksumBytes: number
}

function readFrameHeader(xxHash: XxHash32, packed: Buffer): FrameHeader {
  if (packed.length < DESCRIPTOR_AT + 3 || packed.readUInt32LE() !== MAGIC) throw corruptStream('lz4', 'this is not a frame')
  const flags = packed[DESCRIPTOR_AT] as number
  const blockDescriptor = packed[DESCRIPTOR_AT + 1] as number
  if ((flags & FLG.versionMask) !== FLG.version || (flags & FLG_RESERVED) !== 0 || (blockDescriptor & BD_RESERVED) !== 0)
    throw corruptStream('lz4', 'the frame is of an unknown version')
  if ((flags & FLG_DICTIONARY) !== 0) throw new TidemarkError('UNSUPPORTED_COMPRESSION', 'an lz4 frame needs a dictionary')
  const blockBytesMax = BLOCK_BYTES_OF[blockDescriptor >>> 4]
  if (blockBytesMax === undefined) throw corruptStream('lz4', `block size ${blockDescriptor >>> 4} is unknown`)
  const hasContentSize = (flags & FLG.contentSize) !== 0
  const checksumAt = DESCRIPTOR_AT + 2 + (hasContentSize ? 8 : 0)
  if (checksumAt >= packed.length) throw corruptStream('lz4', 'the frame header is cut off')
  const checksum = (xxHash.hash(0, packed, DESCRIPTOR_AT, checksumAt - DESCRIPTOR_AT) >>> 8) & 0xff
  if (packed[checksumAt] !== checksum) throw corruptStream('lz4', 'the checksum of the frame header is wrong')
  return {
    position: checksumAt + 1,
    blockBytesMax,
    isIndependent: (flags & FLG.independent) !== 0,
    contentBytes: hasContentSize ? Number(packed.readBigUInt64LE(DESCRIPTOR_AT + 2)) : undefined,
    blockChecksumBytes: (flags & FLG.blockChecksum) === 0 ? 0 : 4,
    contentChecksumBytes: (flags & FLG.contentChecksum) === 0 ? 0 : 4,
  }
}

function decompressFrame(xxHash: XxHash32, packed: Buffer, maxBytes: number): Buffer {
  const frame = readFrameHeader(xxHash, packed)
  const { contentBytes } = frame
  if (contentBytes !== undefined && contentBytes > maxBytes) throw tooLarge('lz4', maxBytes)
  if (contentBytes !== undefined && contentBytes > packed.length * EXPANSION_MAX)
    throw corruptStream('lz4', `a frame of ${packed.length} bytes claims to hold ${contentBytes}`)
  const output = new Lz4Output(contentBytes ?? packed.length * 4, maxBytes)
  let { position } = frame
  for (;;) {
    if (packed.length - position < 4) throw corruptStream('lz4', 'the frame is cut off')
    const word = packed.readUInt32LE(position)
    position += 4
    if (word === 0) break
    const length = word & ~STORED_BIT
    if (length > packed.length - position || length > frame.blockBytesMax)
      throw corruptStream('lz4', `a block claims ${length} bytes, ${packed.length - position} are left`)
    const block = packed.subarray(position, position + length)
    if (word >= STORED_BIT) output.append(block)
    else decompressLz4Block(block, output, { isIndependent: frame.isIndependent, maxBytes: frame.blockBytesMax })
    position += length + frame.blockChecksumBytes
  }
  position += frame.contentChecksumBytes
  if (position !== packed.length) throw corruptStream('lz4', `the frame ends at byte ${position} of ${packed.length}`)
  if (contentBytes !== undefined && contentBytes !== output.length)
    throw corruptStream('lz4', `the frame claims ${contentBytes} bytes and holds ${output.length}`)
  return output.finish()
}
