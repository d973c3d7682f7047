/** What a majority has agreed on. */

export type VoteResult = 'won' | 'lost' | 'pending'

/** The largest index that a majority of `matches`, one per voter, has reached. */
export function committedIndex(matches: readonly number[]): number {
  if (matches.length === 0) return Number.POSITIVE_INFINITY
  const sorted = [...matches].sort((a, b) => b - a)
  return sorted[majority(matches.length) - 1] as number
}

/** `votes`: true for granted, false for refused, absent for not known. */
export function voteResult(voters: readonly number[], votes: ReadonlyMap<number, boolean>): VoteResult {
  const granted = voters.filter((id) => votes.get(id) === true).length
  const refused = voters.filter((id) => votes.get(id) === false).length
  if (granted >= majority(voters.length)) return 'won'
  return voters.length - refused < majority(voters.length) ? 'lost' : 'pending'
}

export function majority(count: number): number {
  return Math.floor(count / 2) + 1
}
