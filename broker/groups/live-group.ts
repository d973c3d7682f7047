/**
 * A group at work: its state, and what is known for the moment only. A heartbeat and the end of sessions, as the coordinator has them decided: these read
 * and note who was heard when. No I/O.
 */
import { type GroupRecord, GroupState, type Member } from './group-state.ts'
import { type Heartbeat, heartbeat, type MembershipContext, removeMembers, sendAway } from './membership.ts'
import { ParkedHeartbeats } from './parked-heartbeats.ts'
import { type Overdue, Sessions } from './sessions.ts'

/** What became of a request: what to write, and what to answer once it is committed. */
export interface Decision<Answer> {
  readonly records: readonly GroupRecord[]
  /** Asked when the records are applied. */
  readonly answer: () => Answer
}

export interface BeatContext extends Omit<MembershipContext, 'knownEpoch'> {
  /** For sessions. */
  readonly monotonicMs: number
  /** The other end of the member's connection. */
  readonly peer: string
}

export class LiveGroup {
  readonly state: GroupState
  readonly sessions: Sessions = new Sessions()
  readonly parked: ParkedHeartbeats = new ParkedHeartbeats()
  /** Behind the last record of the group. */
  writtenOffset: number
  /** Topics have changed, and it could not be written yet what follows from that. */
  isBehind = false

  constructor(group: string, writtenOffset: number) {
    this.state = new GroupState(group)
    this.writtenOffset = writtenOffset
  }

  /** Answers the member as it is afterwards; undefined when it is none any more. Throws why the heartbeat is refused. */
  beat(beat: Heartbeat, context: BeatContext): Decision<Member | undefined> {
    const { state, sessions, parked } = this
    const { memberId, memberEpoch } = beat
    const { monotonicMs, peer } = context
    this.#noteKnock(beat, monotonicMs)
    const records = heartbeat(state, beat, { ...context, knownEpoch: sessions.knownEpoch(memberId) })
    // It lives, even if what it says cannot be written now.
    if (beat.intent === 'stay') sessions.heard(beat, memberEpoch, peer, monotonicMs)
    parked.wake(memberId)
    return {
      records,
      answer: () => {
        const member = state.members.get(memberId)
        // A heartbeat from before it left does not bring it back.
        sessions.heard(beat, member?.away ? member.epoch : memberEpoch, peer, monotonicMs)
        return member
      },
    }
  }

  /** Members whose time is over, and the records that end their membership. */
  endSessions(context: Pick<BeatContext, 'nowMs' | 'topics' | 'monotonicMs'>): {
    readonly overdue: readonly Overdue[]
    readonly records: readonly GroupRecord[]
  } {
    const { state, sessions } = this
    const overdue = sessions.overdue(state.members, context.monotonicMs)
    const gone = overdue.flatMap(({ memberId, why }) => (why === 'succeeded' ? [] : [memberId]))
    if (gone.length > 0) return { overdue, records: removeMembers(state, gone, context) }
    // One at a time: each is a change of its own.
    const [succeeded] = overdue
    const member = succeeded && state.members.get(succeeded.memberId)
    if (member === undefined) return { overdue, records: [] }
    sessions.giveGrace(member.memberId, context.monotonicMs)
    return { overdue: [succeeded as Overdue], records: sendAway(state, member, context) }
  }

  /** Another process wants the place of a static member: should that one's session end, its place is kept. */
  #noteKnock({ memberId, instanceId, memberEpoch, intent }: Heartbeat, monotonicMs: number): void {
    if (instanceId === '' || memberEpoch !== 0 || intent !== 'stay' || this.state.members.has(memberId)) return
    const place = this.state.memberOfInstance(instanceId)
    if (place !== undefined) this.sessions.knocked(place.memberId, monotonicMs)
  }
}
