/** The one step that all codecs of the LZ77 family share: repeating bytes that were put out before. */

/** Below this a loop is quicker than a call into the runtime. */
const LOOP_BYTES = 32

/**
 * Writes `length` bytes at `at` that repeat those `distance` back; they may overlap, which repeats a pattern.
 * The caller has checked that `1 ≤ distance ≤ at` and that `output` has room.
 */
export function repeatCopy(output: Uint8Array, at: number, distance: number, length: number): void {
  const from = at - distance
  if (length <= LOOP_BYTES) {
    for (let index = 0; index < length; index++) output[at + index] = output[from + index] as number
    return
  }
  // Each round repeats all there is of the pattern so far: a whole number of distances, so it stays in step.
  for (let done = 0; done < length; ) {
    const count = Math.min(distance + done, length - done)
    output.copyWithin(at + done, from, from + count)
    done += count
  }
}
