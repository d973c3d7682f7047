/**
 * How far the work on a partition is finished without a gap. Work begins in the order of offsets and may end in any; only what comes before the first
 * piece that is not finished may be committed.
 */

/** A piece of work: the records of a partition up to, not including, `nextOffset`. */
export interface Piece {
  readonly nextOffset: number
  /** Of its last record. */
  readonly leaderEpoch: number
  isFinished: boolean
}

export class Watermark {
  /** Everything below is finished. */
  #low: number
  #leaderEpoch = -1
  /** Pieces in order, from `#head` on; the first of them is not finished. */
  #pieces: Piece[] = []
  #head = 0

  constructor(offset: number) {
    this.#low = offset
  }

  get low(): number {
    return this.#low
  }

  /** Of the last record below `low`; -1: not known. */
  get leaderEpoch(): number {
    return this.#leaderEpoch
  }

  add(piece: Piece): void {
    this.#pieces.push(piece)
    if (piece.isFinished) this.#advance()
  }

  finish(piece: Piece): void {
    piece.isFinished = true
    this.#advance()
  }

  #advance(): void {
    for (let first = this.#pieces[this.#head]; first?.isFinished === true; first = this.#pieces[++this.#head]) {
      this.#low = first.nextOffset
      this.#leaderEpoch = first.leaderEpoch
    }
    // Half of it at a time, so that each piece is moved once on average.
    if (this.#head * 2 > this.#pieces.length) {
      this.#pieces = this.#pieces.slice(this.#head)
      this.#head = 0
    }
  }
}
