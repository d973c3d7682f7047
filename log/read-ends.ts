/**
 * Where the latest reads of a segment ended, so that who reads on need not ask the index, which points one batch too far back.
 */

/** Readers of one segment that are followed from read to read. */
const READ_ENDS_MAX = 16

export class ReadEnds {
  /** Oldest first. */
  readonly #ends: { readonly offset: number; readonly position: number }[] = []

  /** A read ended before the batch at `offset`, which begins at `position`. */
  note(offset: number, position: number): void {
    if (this.#ends.length >= READ_ENDS_MAX) this.#ends.shift()
    this.#ends.push({ offset, position })
  }

  /** Where the batch at `offset` begins, if a read ended there. */
  take(offset: number): number | undefined {
    const at = this.#ends.findIndex((end) => end.offset === offset)
    return at < 0 ? undefined : this.#ends.splice(at, 1)[0]?.position
  }
}
