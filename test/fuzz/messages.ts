/**
 * Messages of the contract as bytes, made from its descriptors: any field of any message, with numbers at their edges, names that exist
 * and names that do not, and lists that are long. And the other way: which fields of a message some bytes say something about.
 */
import { type DescField, type DescMessage, type FileRegistry, createFileRegistry, fromBinary, ScalarType } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { DESCRIPTORS } from '../../protocol/gen/descriptors.ts'
import { type Chance, pick, streamOf } from '../../scripts/random.ts'

export const contract: FileRegistry = createFileRegistry(fromBinary(FileDescriptorSetSchema, Buffer.from(DESCRIPTORS, 'base64')))

/** What the fields of a message may say, besides what is made up. */
export interface Vocabulary {
  readonly texts: readonly string[]
  readonly bytes: readonly Buffer[]
}

const PLAIN: Vocabulary = {
  texts: [
    '',
    'orders',
    'group-1',
    'AAAAAAAAAAAAAAAAAAAAAA',
    'BBBBBBBBBBBBBBBBBBBBBB',
    '127.0.0.1',
    'retention.ms',
    '1',
    'ä/../\0',
    'x'.repeat(300),
  ],
  bytes: [Buffer.alloc(0), Buffer.alloc(16), Buffer.alloc(16, 1), Buffer.from('ff00', 'hex')],
}

const NUMBERS: readonly bigint[] = [
  1n,
  1n,
  2n,
  3n,
  7n,
  0n,
  -1n,
  100n,
  1000n,
  65_536n,
  2n ** 31n - 1n,
  -(2n ** 31n),
  2n ** 32n - 1n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
]

/** What most numbers of sound messages are. */
const SMALL: readonly bigint[] = [0n, 1n, 1n, 2n, 3n, 7n, 100n, 1000n, 30_000n]

const DEPTH_MAX = 5

export function messageOf(name: string): DescMessage {
  const found = contract.getMessage(name)
  if (found === undefined) throw new Error(`${name} is no message of the contract`)
  return found
}

/** Messages that are a function of the seed. */
export function sampleMessages(name: string, seed: number, count: number, vocabulary: Vocabulary = PLAIN): Buffer[] {
  const message = messageOf(name)
  return Array.from({ length: count }, (_, at) => sampleMessage(message, streamOf(seed, `${name} ${at}`), vocabulary))
}

export function sampleMessage(message: DescMessage, chance: Chance, vocabulary: Vocabulary = PLAIN): Buffer {
  const writer = new BinaryWriter()
  writeFields(writer, message, chance, vocabulary, 0)
  return Buffer.from(writer.finish())
}

function writeFields(writer: BinaryWriter, message: DescMessage, chance: Chance, vocabulary: Vocabulary, depth: number): void {
  for (const field of message.fields) {
    if (chance() < 0.2) continue
    const count = field.fieldKind === 'list' || field.fieldKind === 'map' ? Math.floor(4 * chance() ** 2) + (chance() < 0.7 ? 1 : 0) : 1
    for (let i = 0; i < count; i++) writeField(writer, field, chance, vocabulary, depth)
  }
}

function writeField(writer: BinaryWriter, field: DescField, chance: Chance, vocabulary: Vocabulary, depth: number): void {
  if (field.fieldKind === 'map') {
    writer.tag(field.number, WireType.LengthDelimited).fork()
    writeScalar(writer, 1, field.mapKey, chance, vocabulary)
    if (field.mapKind === 'scalar') writeScalar(writer, 2, field.scalar, chance, vocabulary)
    writer.join()
  } else if (field.message !== undefined) {
    if (depth >= DEPTH_MAX) return
    writer.tag(field.number, WireType.LengthDelimited).fork()
    writeFields(writer, field.message, chance, vocabulary, depth + 1)
    writer.join()
  } else if (field.enum !== undefined) {
    const known = pick(chance, field.enum.values).number
    writer.tag(field.number, WireType.Varint).int32(chance() < 0.9 ? known : pick(chance, [-1, 99, 2 ** 31 - 1]))
  } else if (field.scalar !== undefined) writeScalar(writer, field.number, field.scalar, chance, vocabulary)
}

function writeScalar(writer: BinaryWriter, number: number, type: ScalarType, chance: Chance, vocabulary: Vocabulary): void {
  if (type === ScalarType.STRING) writer.tag(number, WireType.LengthDelimited).string(pick(chance, vocabulary.texts))
  else if (type === ScalarType.BYTES) writer.tag(number, WireType.LengthDelimited).bytes(pick(chance, vocabulary.bytes))
  else if (type === ScalarType.DOUBLE)
    writer.tag(number, WireType.Bit64).double(pick(chance, [0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]))
  else if (type === ScalarType.BOOL) writer.tag(number, WireType.Varint).bool(chance() < 0.7)
  else writer.tag(number, WireType.Varint).uint64(BigInt.asUintN(64, pick(chance, chance() < 0.95 ? SMALL : NUMBERS)))
}

/** `message.field` of every field that can be set in a message, those of messages within it included. */
export function fieldsOf(message: DescMessage, found: Set<string> = new Set()): Set<string> {
  for (const field of message.fields) {
    const name = `${message.typeName}.${field.name}`
    if (found.has(name)) continue
    found.add(name)
    if (field.message !== undefined) fieldsOf(field.message, found)
  }
  return found
}

/** Adds the fields to which `bytes` gives a value that is not their default. Bytes that are no message end it. */
export function noteFields(message: DescMessage, bytes: Uint8Array, seen: Set<string>): void {
  const fields = new Map(message.fields.map((field) => [field.number, field]))
  const reader = new BinaryReader(bytes)
  while (reader.pos < reader.len) {
    const [number, wire] = reader.tag()
    const field = fields.get(number)
    const isPlain = wire === WireType.LengthDelimited
    const value = isPlain ? reader.bytes() : reader.skip(wire, number)
    if (field === undefined) continue
    if (value.some((byte) => byte !== 0)) seen.add(`${message.typeName}.${field.name}`)
    if (isPlain && field.message !== undefined) {
      seen.add(`${message.typeName}.${field.name}`)
      noteFields(field.message, value, seen)
    }
  }
}
