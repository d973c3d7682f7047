/** Changes bytes in the ways that decoders fear: flipped bits, lengths that lie, numbers at the edges, pieces cut out, doubled and mixed. */
import { type Chance, pick } from '../../scripts/random.ts'

/** No input gets longer: what a decoder does to large inputs it does to these. */
export const INPUT_BYTES_MAX: number = 16 * 1024

const EDGES: readonly bigint[] = [
  0n,
  1n,
  -1n,
  -2n,
  127n,
  128n,
  255n,
  256n,
  32_767n,
  -32_768n,
  65_535n,
  2n ** 31n - 1n,
  -(2n ** 31n),
  2n ** 32n - 1n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  -(2n ** 63n),
]

/** Varints that are long, longer than they need to be, or without an end. */
const VARINTS: readonly Buffer[] = ['ffffffff0f', 'ffffffff07', '8080808000', 'ffffffffffffffffff01', 'ffffffffffffffffffff', '80'].map(
  (hex) => Buffer.from(hex, 'hex'),
)

/** What texts choke on. */
const WORDS: readonly Buffer[] = [
  'null',
  '-1',
  '1e999',
  'NaN',
  '9007199254740993',
  '"',
  '{}',
  '[]',
  '__proto__',
  'constructor',
  '../',
  '\0',
  '%',
  '\\',
  ',',
  ':',
  '=',
  '@',
  '+',
  '\n',
  '\ud83d\ude00',
].map((text) => Buffer.from(text))

type Mutator = (input: Buffer, chance: Chance, others: readonly Buffer[]) => Buffer

const at = (chance: Chance, length: number): number => Math.floor(chance() * length)

/** `input` with `[from, to)` replaced. */
function spliced(input: Buffer, from: number, to: number, piece: Buffer): Buffer {
  return Buffer.concat([input.subarray(0, from), piece, input.subarray(to)])
}

function edge(chance: Chance): Buffer {
  const value = pick(chance, EDGES)
  const bytes = pick(chance, [1, 2, 4, 8])
  const out = Buffer.alloc(8)
  out.writeBigInt64BE(BigInt.asIntN(64, value))
  const big = out.subarray(8 - bytes)
  return chance() < 0.8 ? big : Buffer.from(big).reverse()
}

const MUTATORS: readonly Mutator[] = [
  (input, chance) => {
    const out = Buffer.from(input)
    const where = at(chance, out.length)
    out[where] = (out[where] as number) ^ (1 << at(chance, 8))
    return out
  },
  (input, chance) => {
    const out = Buffer.from(input)
    out[at(chance, out.length)] = at(chance, 256)
    return out
  },
  (input, chance) => {
    const piece = edge(chance)
    const where = at(chance, Math.max(1, input.length - piece.length + 1))
    return spliced(input, where, Math.min(input.length, where + piece.length), piece)
  },
  (input, chance) => {
    const where = at(chance, input.length + 1)
    return spliced(input, where, where, edge(chance))
  },
  (input, chance) => {
    const where = at(chance, input.length + 1)
    return spliced(input, where, Math.min(input.length, where + at(chance, 3)), pick(chance, VARINTS))
  },
  (input, chance) => {
    const where = at(chance, input.length + 1)
    return spliced(input, where, Math.min(input.length, where + at(chance, 8)), pick(chance, WORDS))
  },
  (input, chance) => Buffer.from(input.subarray(0, at(chance, input.length + 1))),
  (input, chance) => {
    const from = at(chance, input.length + 1)
    return spliced(input, from, Math.min(input.length, from + 1 + at(chance, 16)), Buffer.alloc(0))
  },
  (input, chance) => {
    const from = at(chance, input.length + 1)
    const piece = input.subarray(from, from + 1 + at(chance, 64))
    return spliced(input, from, from, Buffer.concat(Array.from({ length: 1 + at(chance, 4) }, () => piece)))
  },
  (input, chance, others) => {
    const other = pick(chance, others)
    const from = at(chance, other.length + 1)
    return spliced(input, at(chance, input.length + 1), input.length, Buffer.from(other.subarray(from)))
  },
  (input, chance) => Buffer.concat([input, Buffer.from(Array.from({ length: 1 + at(chance, 16) }, () => at(chance, 256)))]),
]

/** One of the seeds with one to eight changes. */
export function mutated(chance: Chance, seeds: readonly Buffer[]): Buffer {
  let input = pick(chance, seeds)
  const changes = 1 + Math.floor(8 * chance() ** 3)
  for (let count = 0; count < changes; count++) {
    if (input.length === 0) input = Buffer.from([at(chance, 256)])
    input = pick(chance, MUTATORS)(input, chance, seeds)
  }
  return input.length > INPUT_BYTES_MAX ? Buffer.from(input.subarray(0, INPUT_BYTES_MAX)) : input
}
