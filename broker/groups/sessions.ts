/**
 * When members were heard, and when they have to have been. Pure. Kept in memory only: a coordinator that takes over gives every member
 * the whole of its time anew. Times are monotonic.
 *
 * A member ends its own time, by its own clock, before it ends here: its session begins with a heartbeat it has sent and ends here counted from when that came in;
 * its time to let go begins with an answer it has got and ends here counted from when it has said so. What it held is given away only then.
 */
import type { Member } from './group-state.ts'

/** Whoever wants the place of a static member asks at least so often. */
const KNOCK_WINDOW_MS = 5000

interface Session {
  heardMs: number
  /** The largest epoch the member has shown to know. */
  knownEpoch: number
  /** The other end of its connection. */
  peer: string
  /** The oldest epoch in which it was told to let go of something it still holds; 0: none. */
  revokedEpoch: number
  /** From when on it knows, or has to have dropped everything because it was not answered: its time to let go begins. */
  toldMs: number
  /** When another process wanted its place. */
  knockedMs: number
  /** Replaces the session timeout: the place is only kept for whoever knocked. */
  graceMs: number | undefined
}

/** Whose time is over. */
export interface Overdue {
  readonly memberId: string
  /** It was silent, it did not let go, or it was silent and somebody waits for its place. */
  readonly why: 'silent' | 'slow' | 'succeeded'
}

export class Sessions {
  readonly #sessions = new Map<string, Session>()

  knownEpoch(memberId: string): number {
    return this.#sessions.get(memberId)?.knownEpoch ?? 0
  }

  peer(memberId: string): string {
    return this.#sessions.get(memberId)?.peer ?? ''
  }

  silentMs(memberId: string, nowMs: number): number {
    const session = this.#sessions.get(memberId)
    return session === undefined ? 0 : Math.max(0, nowMs - session.heardMs)
  }

  /** Begins sessions of new members, ends those of members that are gone. */
  follow(members: ReadonlyMap<string, Member>, nowMs: number): void {
    for (const memberId of this.#sessions.keys()) if (!members.has(memberId)) this.#sessions.delete(memberId)
    for (const [memberId, member] of members) {
      const session = this.#sessions.get(memberId) ?? newSession(nowMs)
      this.#sessions.set(memberId, session)
      const revokedEpoch = oldestRevoked(member)
      if (revokedEpoch === session.revokedEpoch) continue
      session.revokedEpoch = revokedEpoch
      session.toldMs = session.knownEpoch >= revokedEpoch ? nowMs : nowMs + member.sessionTimeoutMs
    }
  }

  /** A member was heard. `epoch`: that it came with. */
  heard({ memberId, sessionTimeoutMs }: Pick<Member, 'memberId' | 'sessionTimeoutMs'>, epoch: number, peer: string, nowMs: number): void {
    const session = this.#sessions.get(memberId)
    if (session === undefined) return
    // It has dropped everything and begins again, without knowing what it was told.
    if (epoch === 0) session.toldMs = nowMs + sessionTimeoutMs
    session.heardMs = nowMs
    session.knownEpoch = Math.max(session.knownEpoch, epoch)
    if (epoch > 0 && epoch >= session.revokedEpoch) session.toldMs = Math.min(session.toldMs, nowMs)
    session.peer = peer
    session.graceMs = undefined
  }

  /** Another process wants the place of a static member. */
  knocked(memberId: string, nowMs: number): void {
    const session = this.#sessions.get(memberId)
    if (session !== undefined) session.knockedMs = nowMs
  }

  /** The place of the member is kept a little longer, for whoever knocked. */
  giveGrace(memberId: string, nowMs: number): void {
    const session = this.#sessions.get(memberId)
    if (session === undefined) return
    session.heardMs = nowMs
    session.graceMs = KNOCK_WINDOW_MS
  }

  overdue(members: ReadonlyMap<string, Member>, nowMs: number): Overdue[] {
    return [...members.values()].flatMap((member) => {
      const session = this.#sessions.get(member.memberId)
      const why = session && reasonToGo(member, session, nowMs)
      return why === undefined ? [] : [{ memberId: member.memberId, why }]
    })
  }
}

function reasonToGo(member: Member, session: Session, nowMs: number): Overdue['why'] | undefined {
  if (nowMs - session.heardMs >= (session.graceMs ?? member.sessionTimeoutMs)) {
    const isAwaited = !member.away && member.instanceId !== '' && nowMs - session.knockedMs < KNOCK_WINDOW_MS
    return isAwaited ? 'succeeded' : 'silent'
  }
  return session.revokedEpoch > 0 && nowMs - session.toldMs >= member.rebalanceTimeoutMs ? 'slow' : undefined
}

function newSession(nowMs: number): Session {
  return {
    heardMs: nowMs,
    knownEpoch: 0,
    peer: '',
    revokedEpoch: 0,
    toldMs: nowMs,
    knockedMs: Number.NEGATIVE_INFINITY,
    graceMs: undefined,
  }
}

function oldestRevoked({ held }: Member): number {
  let oldest = 0
  for (const { revoked } of held.values()) if (revoked !== 0 && (oldest === 0 || revoked < oldest)) oldest = revoked
  return oldest
}
