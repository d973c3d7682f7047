/** Who votes: one change at a time, so that every two majorities, of before and after, have a node in common. */
import { invariant } from './invariant.ts'
import type { ConfChange, ConfState } from './messages.ts'

/** The members after `change`. */
export function changeMembers({ voters, learners }: ConfState, { type, nodeId }: ConfChange): ConfState {
  const otherVoters = voters.filter((id) => id !== nodeId)
  const otherLearners = learners.filter((id) => id !== nodeId)
  switch (type) {
    case 'addVoter':
      return { voters: sorted([...otherVoters, nodeId]), learners: otherLearners }
    case 'addLearner':
      return leavingVoters({ voters: otherVoters, learners: sorted([...otherLearners, nodeId]) })
    case 'remove':
      return leavingVoters({ voters: otherVoters, learners: otherLearners })
  }
}

/** Whether somebody would be left to vote. */
export function keepsVoters({ voters }: ConfState, { type, nodeId }: ConfChange): boolean {
  return type === 'addVoter' || voters.some((id) => id !== nodeId)
}

export function isMember({ voters, learners }: ConfState, id: number): boolean {
  return voters.includes(id) || learners.includes(id)
}

function leavingVoters(members: ConfState): ConfState {
  invariant(members.voters.length > 0, 'a cluster keeps a voter')
  return members
}

function sorted(ids: readonly number[]): number[] {
  return [...ids].sort((a, b) => a - b)
}
