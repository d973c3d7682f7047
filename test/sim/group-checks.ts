/**
 * What must hold of a group, as its members see it.
 *
 * - No commit is taken that is sent when somebody else has been given the partition already.
 * - No partition is held by two members that are awake and within their session; none is given to two members in the same epoch.
 * - An offset that was acknowledged never goes back, save by a reset.
 */
import type { PartitionKey } from '../../broker/groups/partition-keys.ts'
import type { SimMember } from './group-member.ts'

/** How long the effects of a reset may take to be all there. */
const RESET_MS = 20_000

export class GroupChecks {
  readonly #nowMs: () => number
  readonly #broke: (what: string) => void
  /** Largest offset acknowledged since the last reset. */
  readonly #acknowledged = new Map<PartitionKey, number>()
  readonly #resetUntilMs = new Map<PartitionKey, number>()
  /** Who was given a partition in an epoch. */
  readonly #owners = new Map<string, string>()
  readonly #newest = new Map<PartitionKey, { readonly memberId: string; readonly assigned: number }>()
  acknowledgedCount = 0

  constructor(nowMs: () => number, broke: (what: string) => void) {
    this.#nowMs = nowMs
    this.#broke = broke
  }

  took({ memberId }: SimMember, key: PartitionKey, assigned: number): void {
    const name = `${key} in epoch ${assigned}`
    const owner = this.#owners.get(name) ?? memberId
    if (owner !== memberId) this.#broke(`${name} is given to ${owner} and to ${memberId}`)
    this.#owners.set(name, owner)
    if (assigned > (this.#newest.get(key)?.assigned ?? 0)) this.#newest.set(key, { memberId, assigned })
  }

  /** Somebody else has been given the partition since. */
  isLate({ memberId }: SimMember, key: PartitionKey, assigned: number): boolean {
    const newest = this.#newest.get(key)
    return newest !== undefined && newest.assigned > assigned && newest.memberId !== memberId
  }

  /** No answer to a question asked now may be smaller. */
  leastOffset(key: PartitionKey): number {
    return this.#acknowledged.get(key) ?? 0
  }

  fetched(key: PartitionKey, offset: number, least: number): void {
    if (offset < least && !this.#isResetting(key)) this.#broke(`${key} was committed up to ${least}, and is told to be at ${offset}`)
  }

  /** `isLate`: it was when the commit was sent. */
  acknowledged(key: PartitionKey, offset: number, isLate: boolean): void {
    this.acknowledgedCount++
    if (isLate) this.#broke(`a commit to ${key} was taken that was sent when somebody else had the partition`)
    if (!this.#isResetting(key)) this.#acknowledged.set(key, Math.max(offset, this.leastOffset(key)))
  }

  /** Somebody wants it somewhere else: whatever it was at does not count any more. */
  resets(key: PartitionKey): void {
    this.#acknowledged.delete(key)
    this.#resetUntilMs.set(key, this.#nowMs() + RESET_MS)
  }

  checkOffsets(offsetOf: (key: PartitionKey) => number | undefined, where: string): void {
    for (const [key, offset] of this.#acknowledged) {
      const present = offsetOf(key) ?? 0
      if (present < offset && !this.#isResetting(key)) this.#broke(`${key} was committed up to ${offset}, and is at ${present} ${where}`)
    }
  }

  checkHolders(members: readonly SimMember[]): void {
    const holders = new Map<PartitionKey, string>()
    for (const member of members) {
      for (const key of member.held.keys()) {
        if (!member.believes(key)) continue
        const other = holders.get(key)
        if (other !== undefined) this.#broke(`${key} is held by ${other} and by ${member.memberId}`)
        holders.set(key, member.memberId)
      }
    }
  }

  #isResetting(key: PartitionKey): boolean {
    return this.#nowMs() < (this.#resetUntilMs.get(key) ?? 0)
  }
}
