/**
 * Where the members of the quorum are, and on which disk each of them votes.
 *
 * A vote is a promise kept on a disk. A controller that comes back with an empty one has forgotten its promises, so it is not
 * the one that gave them: its words do not count until it was taken out of the quorum and let in again.
 */
import type { VoterDescription } from '../protocol/gen/tidemark/v1/controller.ts'
import { voterOf } from './quorum-codec.ts'
import type { ConfChange } from './raft/messages.ts'

export class QuorumMembers {
  readonly #members = new Map<number, VoterDescription>()
  /** Disks that members were first heard of on, while no entry of the log names them. */
  readonly #heard: Map<number, string>
  readonly #contacts: ReadonlyMap<number, VoterDescription>
  #isHeardNew = false

  /** `contacts`: where nodes are of which the log says nothing yet. `self`: this one, which never hears of itself. */
  constructor(
    directories: ReadonlyMap<number, string>,
    contacts: readonly VoterDescription[],
    self: Pick<VoterDescription, 'nodeId' | 'directoryId'>,
  ) {
    this.#heard = new Map([...directories, [self.nodeId, self.directoryId]])
    this.#contacts = new Map(contacts.map((contact) => [contact.nodeId, contact]))
  }

  get directories(): ReadonlyMap<number, string> {
    return this.#heard
  }

  /** Something was heard that is not written down. Asking takes it back. */
  takeNews(): boolean {
    const isNew = this.#isHeardNew
    this.#isHeardNew = false
    return isNew
  }

  get(nodeId: number): VoterDescription | undefined {
    const member = this.#members.get(nodeId) ?? this.#contacts.get(nodeId)
    return member && { ...member, directoryId: this.directoryOf(nodeId) }
  }

  describe(nodeIds: readonly number[]): VoterDescription[] {
    return nodeIds.map((nodeId) => this.get(nodeId) ?? { nodeId, directoryId: '', host: '', port: 0 })
  }

  /** Empty: not known yet. */
  directoryOf(nodeId: number): string {
    return this.#members.get(nodeId)?.directoryId || (this.#heard.get(nodeId) ?? '')
  }

  /** Whether `nodeId` may speak from this disk. The first it is heard of on is the one it may speak from. */
  admits(nodeId: number, directoryId: string): boolean {
    const known = this.directoryOf(nodeId)
    if (known !== '') return known === directoryId
    if (this.#members.has(nodeId)) {
      this.#heard.set(nodeId, directoryId)
      this.#isHeardNew = true
    }
    return true
  }

  /** From a snapshot, or as the cluster begins. */
  replaceAll(members: readonly VoterDescription[]): void {
    this.#members.clear()
    for (const member of members) this.#members.set(member.nodeId, member)
  }

  apply(change: ConfChange): void {
    if (change.type === 'remove') {
      this.#members.delete(change.nodeId)
      this.#heard.delete(change.nodeId)
    } else this.#members.set(change.nodeId, voterOf(change))
  }
}
