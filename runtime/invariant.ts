/** A broken promise of our own code: never caused by input, never caught, always a bug. */
export class InvariantViolation extends Error {
  override readonly name = 'InvariantViolation'
}

/** Throws when a condition that our own code guarantees does not hold. `what` says what must hold. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new InvariantViolation(`invariant broken: ${what}`)
}

/** The branch of an exhaustive `switch` that the types rule out. */
export function unreachable(value: never): never {
  throw new InvariantViolation(`unreachable value: ${String(value)}`)
}
