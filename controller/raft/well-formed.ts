/** What a message of another node must be before the core believes it. What is not is dropped: the sender may be of another version, or broken. */
import { type ConfState, type Message, NO_NODE } from './messages.ts'

/**
 * Numbers are whole and not negative; entries follow on each other and on `index`, of terms that do not go back and have begun;
 * a snapshot is of an entry and has its members sorted, each once.
 */
export function isWellFormed({ from, term, logTerm, index, commit, rejectHint, entries, snapshot }: Message): boolean {
  if (from === NO_NODE || ![from, term, logTerm, index, commit, rejectHint].every(isCount)) return false
  let previous = logTerm
  for (const [at, entry] of entries.entries()) {
    if (entry.index !== index + 1 + at || !isCount(entry.index) || !isCount(entry.term) || entry.term < previous || entry.term > term)
      return false
    previous = entry.term
  }
  if (snapshot === undefined) return true
  const { meta } = snapshot
  return isCount(meta.index) && isCount(meta.term) && meta.index > 0 && meta.term <= term && hasEachOnce(meta.confState)
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function hasEachOnce({ voters, learners }: ConfState): boolean {
  const ids = [...voters, ...learners]
  return voters.length > 0 && ids.every((id) => isCount(id) && id > NO_NODE) && new Set(ids).size === ids.length
}
