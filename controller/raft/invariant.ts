/** A mistake of this code, or of whoever drives it. The process must end; going on could lose what is committed. */
export class RaftInvariantError extends Error {
  override readonly name = 'RaftInvariantError'
}

export function invariant(isHeld: boolean, rule: string): asserts isHeld {
  if (!isHeld) throw new RaftInvariantError(`this must hold: ${rule}`)
}
