/** What is fuzzed: a decoder of ours, what to begin from, and what it may throw. */
import type { Chance } from '../../scripts/random.ts'
import { TidemarkError } from '../../protocol/errors.ts'

export interface Target {
  readonly name: string
  /** One sentence for the table: what is decoded, by which code. */
  readonly what: string
  /** Sound inputs, the same at every start. The first executions take them as they are, the others change them. `seed`: of the run. */
  seeds(seed: number): readonly Buffer[] | Promise<readonly Buffer[]>
  /**
   * Decodes and, where there is an encoder, encodes again and compares. Whatever it throws that `isTyped` does not know is a finding. The
   * second execution of an input must do what the first did.
   */
  run(input: Buffer): unknown
  /** Makes what was changed whole again, so that what lies behind a checksum is reached. Done to every other input. */
  mend?(input: Buffer): Buffer
  /** Another sound input, where changed ones seldom reach what lies behind the decoder. Every other execution takes one as it is. */
  fresh?(chance: Chance): Buffer
  /** Bytes of output that a limit of the decoder allows beyond what the input pays for. */
  readonly outputBytesMax?: number
  /** Objects that one byte of input may stand for, in bytes of heap. Default `HEAP_PER_BYTE`. */
  readonly heapPerByte?: number
  /** Share of the executions of a run over all targets; default 1. Slow ones have less. */
  readonly weight?: number
  /** Executions that may be under way at a time; more than one: what they take can't be measured one by one. */
  readonly concurrency?: number
  /** Default: a `TidemarkError` that is no INTERNAL. */
  isTyped?(error: unknown): boolean
  /** What else a run found out, for the table. */
  figures?(): Readonly<Record<string, string | number>>
  open?(): Promise<void>
  close?(): Promise<void>
}

/** A failure of our own making has a code that says so: input must not be able to cause it. */
export function isTypedError(error: unknown): boolean {
  return TidemarkError.is(error) && error.code !== 'INTERNAL'
}

/** A property that does not hold. */
export class Finding extends Error {
  override readonly name = 'Finding'
}

export function must(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Finding(what)
}
