/** A file of more has one bit of each byte flipped, another one in each. */
const WHOLE_BYTES_MAX = 300

/** Contents that differ from a given one in a single bit. */
export function* flipsOf(content: Buffer): Generator<{ readonly flipped: Buffer; readonly place: string }> {
  const step = content.length > WHOLE_BYTES_MAX ? 9 : 1
  for (let bit = 0; bit < 8 * content.length; bit += step) {
    const flipped = Buffer.from(content)
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
    yield { flipped, place: `bit ${bit & 7} of byte ${bit >> 3}` }
  }
}
