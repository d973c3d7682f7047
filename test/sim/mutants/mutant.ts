/** A planted mistake. */
export interface Mutant {
  readonly id: string
  readonly what: string
  readonly file: string
  /** Stands exactly once in the file. */
  readonly find: string
  readonly replace: string
  /** Where it is noticed, when not (only) by the simulation's seeds: tests, from the root of the project. */
  readonly tests?: readonly string[]
  /** Seeds come by it too rarely to be asked. */
  readonly isForTests?: true
}
