/** The members of a group in the making: one decision changes some of them, and all its changes belong to one epoch. Pure. */
import { type GroupRecord, type GroupState, type Member } from './group-state.ts'

export class MembersDraft {
  /** Of the group and of every member the decision changes. */
  readonly epoch: number
  readonly #before: GroupState
  readonly #members: Map<string, Member>

  constructor(before: GroupState) {
    this.epoch = before.epoch + 1
    this.#before = before
    this.#members = new Map(before.members)
  }

  get members(): ReadonlyMap<string, Member> {
    return this.#members
  }

  set(member: Member): void {
    this.#members.set(member.memberId, member)
  }

  remove(memberId: string): void {
    this.#members.delete(memberId)
  }

  /** Empty when nothing has changed. */
  records(nowMs: number): GroupRecord[] {
    const { group, members: before } = this.#before
    const gone = [...before.keys()].filter((memberId) => !this.#members.has(memberId))
    const changed = [...this.#members.values()].filter((member) => before.get(member.memberId) !== member)
    if (gone.length === 0 && changed.length === 0) return []
    return [
      { kind: 'group', group, value: { epoch: this.epoch, emptySinceMs: this.#members.size === 0 ? nowMs : 0 } },
      ...gone.map((memberId): GroupRecord => ({ kind: 'member', group, memberId, value: null })),
      ...changed.map((member): GroupRecord => ({ kind: 'member', group, memberId: member.memberId, value: member })),
    ]
  }
}
