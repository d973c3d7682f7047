/**
 * Members of a group and its coordinators in virtual time, with everything that goes wrong between them; and what must hold all the same.
 *
 * Fault model: requests and answers are late, lost and doubled; coordinators change at any moment, and the former one goes on for a while without knowing;
 * writes that are not committed are lost, kept or taken back; members die, leave, restart, are paused and go on; topics are made, grow and go; offsets are reset.
 *
 * After every event:
 * - no partition is held by two members that are awake and within their session;
 * - no partition is given to two members in the same epoch.
 * Whenever it can be seen:
 * - a commit is taken only from the member that holds the partition;
 * - an offset that was acknowledged never goes back, save by a reset: not for who asks, nor for the next coordinator;
 * - a coordinator that takes over has the state of the former one, where nothing was lost.
 * In the end, when nothing goes wrong any more: every partition is held by one member, as evenly as possible.
 */
import type { GroupState } from '../../../broker/groups/group-state.ts'
import type { Commit } from '../../../broker/groups/offsets.ts'
import { type PartitionKey, partitionKey } from '../../../broker/groups/partition-keys.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import { GroupChecks } from '../../sim/group-checks.ts'
import { type MemberTimes, type MemberWorld, SimMember } from '../../sim/group-member.ts'
import { between, type Chance, pick, streamOf } from '../../../scripts/random.ts'
import { VirtualTime } from '../../sim/virtual-time.ts'
import { keyOf, type Mistakes, SimCoordinator } from './sim-coordinator.ts'
import { type LogSuccession, SimLog } from './sim-log.ts'
import { checkState, TestTopics } from './support.ts'

/** How long a coordinator goes on at most without knowing that it is none any more. */
const UNAWARE_MS = 2000
/** Within this all must be well again: sessions, the longest handler, a few rounds of heartbeats. */
const HEAL_MS = 120_000

const TIMES: MemberTimes = {
  sessionMs: 10_000,
  rebalanceMs: 15_000,
  beatMs: 2000,
  answerMs: 1500,
  handlerMs: 1000,
  longHandlerMs: 20_000,
}

export class SimWorld implements MemberWorld {
  readonly time = new VirtualTime()
  readonly times = TIMES
  readonly topics = new TestTopics({ orders: 5, payments: 3 })
  members: SimMember[] = []
  eventCount = 0
  takeoverCount = 0
  readonly #chance: Chance
  readonly #network: Chance
  readonly #mistakes: Mistakes
  #current: SimCoordinator
  /** Former coordinators that do not know it. */
  #unaware: SimCoordinator[] = []
  #memberCount = 0
  #isCalm = false
  #failure: string | undefined
  readonly #checks = new GroupChecks(
    () => this.time.nowMs,
    (what) => this.#broke(what),
  )

  constructor(seed: number, mistakes: Mistakes = {}) {
    this.#chance = streamOf(seed, 'faults')
    this.#network = streamOf(seed, 'network')
    this.#mistakes = mistakes
    this.#current = this.#open({ batches: [], committedCount: 0 }, undefined)
    for (let count = 0; count < 4; count++) this.#addMember(count === 0 ? 'static-0' : '')
  }

  get acknowledgedCount(): number {
    return this.#checks.acknowledgedCount
  }

  /** Plays `faultMs` of trouble, then peace. Throws what does not hold. */
  async play(faultMs: number): Promise<void> {
    const untilMs = this.time.nowMs + faultMs
    while (this.time.nowMs < untilMs) {
      await this.#advance(between(this.#chance, 10, 800))
      this.#somethingHappens()
    }
    this.#isCalm = true
    for (const former of this.#unaware.splice(0)) former.close()
    const giveUpMs = this.time.nowMs + HEAL_MS
    while (!this.#isWell()) {
      if (this.time.nowMs >= giveUpMs) this.#broke(`it does not become well again: ${this.#describe()}`)
      await this.#advance(1000)
    }
  }

  /** Sends a request to whoever the sender takes for the coordinator. */
  request<T>(call: (coordinator: SimCoordinator) => Promise<T>, done: (value: T) => void, failed: (error: TidemarkError) => void): void {
    const copies = this.#isCalm ? 1 : this.#network() < 0.04 ? 0 : this.#network() < 0.05 ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      this.time.after(this.#delayMs(), () => {
        const target = this.#unaware.length > 0 && this.#network() < 0.4 ? pick(this.#network, this.#unaware) : this.#current
        call(target).then(
          (value) => this.#reply(() => done(value)),
          (error: unknown) => this.#reply(() => failed(TidemarkError.from(error))),
        )
      })
    }
  }

  took(member: SimMember, key: PartitionKey, assigned: number): void {
    this.#checks.took(member, key, assigned)
  }

  leastOffset(key: PartitionKey): number {
    return this.#checks.leastOffset(key)
  }

  fetched(key: PartitionKey, offset: number, least: number): void {
    this.#checks.fetched(key, offset, least)
  }

  isLate(member: SimMember, key: PartitionKey, assigned: number): boolean {
    return this.#checks.isLate(member, key, assigned)
  }

  acknowledged(key: PartitionKey, offset: number, isLate: boolean): void {
    this.#checks.acknowledged(key, offset, isLate)
  }

  #open(succession: LogSuccession, former: string | undefined): SimCoordinator {
    const { isHasty = false, forgetsGrace = false } = this.#mistakes
    return new SimCoordinator({
      time: this.time,
      topics: this.topics,
      log: new SimLog(this.time, this.#network, succession, isHasty),
      graceMs: forgetsGrace ? -5000 : UNAWARE_MS,
      mistakes: this.#mistakes,
      broken: (coordinator, error) => this.#brokenCoordinator(coordinator, error),
      loaded: (coordinator) => this.#checkLoaded(coordinator, former),
      accepted: (coordinator, commit) => this.#checkAccepted(coordinator, commit),
    })
  }

  /** Another node leads; the former one learns of it later. */
  #takeOver(): void {
    this.takeoverCount++
    const former = this.#current
    const written = textOf(former.state)
    const succession = former.log.succeed()
    const isAllKept = former.shard.isActive && succession.batches.length === former.log.length
    this.#unaware.push(former)
    this.#current = this.#open(succession, isAllKept ? written : undefined)
    this.time.after(between(this.#chance, 0, UNAWARE_MS), () => {
      this.#unaware = this.#unaware.filter((one) => one !== former)
      former.close()
    })
  }

  /** A write was taken back: what the coordinator knows is not what is in its log. */
  #brokenCoordinator(coordinator: SimCoordinator, { code }: TidemarkError): void {
    if (coordinator !== this.#current || code === 'NOT_LEADER') return
    const succession = coordinator.log.succeed()
    coordinator.close()
    this.#current = this.#open(succession, undefined)
  }

  #somethingHappens(): void {
    const chance = this.#chance()
    const member = pick(this.#chance, this.members)
    if (chance < 0.08) this.#takeOver()
    else if (chance < 0.12) this.#current.log.takeBack()
    else if (chance < 0.14) this.#current.log.timeOut()
    else if (chance < 0.2) member.pause(between(this.#chance, 100, this.#chance() < 0.3 ? 40_000 : 3000))
    else if (chance < 0.24) member.kill()
    else if (chance < 0.27) member.leave('leave')
    else if (chance < 0.31 && member.instanceId !== '') this.#restart(member)
    else if (chance < 0.38) this.#addMember(this.#chance() < 0.3 ? `static-${Math.floor(this.#chance() * 4)}` : '')
    else if (chance < 0.4) member.topics = pick(this.#chance, [['orders'], ['orders', 'payments'], ['payments', 'audit']])
    else if (chance < 0.43) this.#changeTopics()
    else if (chance < 0.47) this.#reset()
    this.members = this.members.filter(({ isGone }) => !isGone)
    if (this.members.length === 0) this.#addMember('')
  }

  #restart(member: SimMember): void {
    if (this.#chance() < 0.5) member.leave('leave-for-a-while')
    else member.kill()
    this.#addMember(member.instanceId)
  }

  #addMember(instanceId: string): void {
    if (this.members.length >= 10) return
    const topics = this.#chance() < 0.8 ? ['orders', 'payments'] : ['orders']
    const memberId = `m${this.#memberCount++}`
    this.members.push(new SimMember(this, memberId, instanceId, topics, chanceStream(this.#chance)))
  }

  #changeTopics(): void {
    const chance = this.#chance()
    const orders = this.topics.byName('orders')
    if (chance < 0.5 && orders !== undefined && orders.partitionCount < 12) this.topics.grow('orders', orders.partitionCount + 1)
    else if (this.topics.byName('audit') === undefined) this.topics.create('audit', 2)
    else this.topics.remove('audit')
    for (const coordinator of [this.#current, ...this.#unaware]) coordinator.followTopics()
  }

  #reset(): void {
    const partition = Math.floor(this.#chance() * 3)
    const key = this.topics.key('orders', partition)
    const offset = Math.floor(this.#chance() * 50)
    this.#checks.resets(key)
    this.time.after(this.#delayMs(), () => {
      this.#current.reset(key, 'orders', offset).catch(() => {})
    })
  }

  #reply(happens: () => void): void {
    if (this.#isCalm || this.#network() >= 0.04) this.time.after(this.#delayMs(), happens)
  }

  #delayMs(): number {
    return between(this.#network, 1, !this.#isCalm && this.#network() < 0.03 ? 5000 : 40)
  }

  async #advance(ms: number): Promise<void> {
    const untilMs = this.time.nowMs + ms
    while (await this.time.step(untilMs)) {
      this.eventCount++
      if (this.#failure !== undefined) throw new Error(this.#failure)
      this.#checks.checkHolders(this.members)
    }
    this.time.nowMs = untilMs
  }

  #checkAccepted(coordinator: SimCoordinator, commit: Commit): void {
    // What a former coordinator takes is never committed.
    if (coordinator !== this.#current) return
    const other = this.members.find((member) => member.memberId !== commit.memberId && member.believes(keyOf(commit)))
    if (other !== undefined) this.#broke(`a commit of ${commit.memberId} to ${keyOf(commit)} is taken, which ${other.memberId} holds`)
  }

  #checkLoaded({ state }: SimCoordinator, former: string | undefined): void {
    if (state !== undefined) checkState(state)
    this.#checks.checkOffsets((key) => state?.offsets.get(key)?.offset, 'after a takeover')
    if (former !== undefined && textOf(state) !== former) this.#broke(`a coordinator takes over ${former}, and has ${textOf(state)}`)
  }

  #broke(what: string): void {
    this.#failure ??= what
  }

  /** Every partition that somebody wants is held by one member, and those with the same topics hold as many, give or take one. */
  #isWell(): boolean {
    if (this.#failure !== undefined) throw new Error(this.#failure)
    this.members = this.members.filter(({ isGone }) => !isGone)
    if (this.members.some(({ isPaused }) => isPaused)) return false
    const awake = this.members.filter((member) => !this.#isTurnedAway(member))
    for (const name of ['orders', 'payments', 'audit']) {
      const topic = this.topics.byName(name)
      const isWanted = awake.some(({ topics }) => topics.includes(name))
      for (let partition = 0; partition < (topic?.partitionCount ?? 0); partition++) {
        const key = partitionKey(topic?.topicId ?? '', partition)
        if (awake.filter((member) => member.believes(key)).length !== (isWanted ? 1 : 0)) return false
      }
    }
    return awake.every((one) => awake.every((other) => one.topics.join() !== other.topics.join() || one.held.size - other.held.size <= 1))
  }

  /** Another process with the same instance id is at work. */
  #isTurnedAway({ instanceId, epoch }: SimMember): boolean {
    return instanceId !== '' && epoch === 0 && this.members.some((other) => other.instanceId === instanceId && other.epoch > 0)
  }

  #describe(): string {
    const members = this.members.map(({ memberId, instanceId, epoch, held, isPaused, topics }) => {
      return `${memberId}${instanceId && ` (${instanceId})`} epoch ${epoch} reads ${topics.join()} holds ${[...held.keys()].join()}${isPaused ? ' paused' : ''}`
    })
    return `${members.join('; ')}. The coordinator ${this.#current.shard.isActive ? '' : '(not active) '}has ${textOf(this.#current.state)}`
  }
}

function chanceStream(chance: Chance): Chance {
  return streamOf(Math.floor(chance() * 2 ** 32), 'member')
}

/** The same for the same state. */
function textOf(state: GroupState | undefined): string {
  if (state === undefined) return 'nothing'
  const members = [...state.members.values()].map(({ memberId, instanceId, topics, epoch, away, target, held }) => {
    const holds = [...held].map(([key, { assigned, revoked }]) => `${key} ${assigned} ${revoked}`)
    return { memberId, instanceId, topics, epoch, away, target: [...target].sort(), held: holds.sort() }
  })
  const offsets = [...state.offsets].map(([key, { offset }]) => `${key} ${offset}`).sort()
  return JSON.stringify({ epoch: state.epoch, members: members.sort((a, b) => (a.memberId < b.memberId ? -1 : 1)), offsets })
}
