/** Random lives of the members of a group: whatever happens, no partition is in two hands, nothing is left out. On virtual time, from seeds. */
import { expect, it } from 'vitest'
import type { SimClient } from '../../sim/cluster.ts'
import { between, type Chance, chanceOf, pick } from '../../../scripts/random.ts'
import { committedOf, join, type Member, send, type World, world } from './sim-support.ts'

const PARTITIONS = 4
const STEPS = 25

interface Life {
  readonly client: SimClient
  readonly member: Member
  isClosing: boolean
}

interface Held {
  readonly life: Life
  readonly signal: AbortSignal
  readonly beganMs: number
  /** Its member was told that the partition is gone. */
  isLost: boolean
}

/** Work in hand may be given up after this: the close timeout is the shortest of what ends its time. */
const PATIENCE_MS = 10_000

class Run {
  readonly #world: World
  readonly #chance: Chance
  readonly lives: Life[] = []
  readonly sent: number[] = Array<number>(PARTITIONS).fill(0)
  readonly handled: Set<number>[] = Array.from({ length: PARTITIONS }, () => new Set())
  /** Who works on a partition. */
  readonly #held = new Map<number, Held[]>()
  readonly #owners = new Map<string, string>()
  /** By member, partition and epoch, the offset that came last. */
  readonly #last = new Map<string, bigint>()
  readonly problems: string[] = []
  #count = 0

  constructor(w: World, chance: Chance) {
    this.#world = w
    this.#chance = chance
  }

  async step(): Promise<void> {
    const alive = this.lives.filter(({ client, isClosing }) => client.process.isAlive && !client.process.isPaused && !isClosing)
    const { cluster } = this.#world
    const choice = this.#chance()
    if (choice < 0.35 || alive.length === 0) this.#join()
    else if (choice < 0.5) this.#close(pick(this.#chance, alive))
    else if (choice < 0.6) pick(this.#chance, alive).client.process.kill()
    else if (choice < 0.7) {
      const { process } = pick(this.#chance, alive).client
      process.pause()
      cluster.time.after(between(this.#chance, 1000, 60_000), () => process.resume())
    } else if (choice < 0.8) {
      cluster.split([pick(this.#chance, alive).client.process.host], ['n1'])
      cluster.time.after(between(this.#chance, 1000, 60_000), () => cluster.network.heal())
    } else {
      const partition = Math.floor(this.#chance() * PARTITIONS)
      const count = 1 + Math.floor(this.#chance() * 10)
      await send(this.#world, count, partition, this.sent[partition])
      this.sent[partition] = (this.sent[partition] ?? 0) + count
    }
    await cluster.advance(between(this.#chance, 10, 15_000))
  }

  /** One member that stays finds everything that is left. */
  async settle(): Promise<void> {
    const { cluster } = this.#world
    cluster.network.heal()
    for (const life of this.lives) life.client.process.resume()
    this.#join()
    const isDone = (): boolean => this.handled.every((offsets, partition) => offsets.size === this.sent[partition])
    if (!(await cluster.until(isDone, 5 * 60_000)))
      this.problems.push(`handled ${this.handled.map(({ size }) => size).join()} of ${this.sent.join()}`)
    await cluster.advance(60_000)
    for (const [partition, count] of this.sent.entries()) {
      const committed = (await committedOf(this.#world, partition)) ?? 0
      if (committed !== count) this.problems.push(`${committed} of ${count} committed in partition ${partition}`)
    }
  }

  #join(): void {
    const { client, member } = join(this.#world, `m${this.#count++}`, { rebalanceTimeout: '20s' })
    const life: Life = { client, member, isClosing: false }
    this.lives.push(life)
    // It goes back to what was committed, also where the coordinator never missed it.
    member.on('lost', () => {
      for (const held of [...this.#held.values()].flat()) if (held.life === life) held.isLost = true
      for (const key of this.#last.keys()) if (key.startsWith(`${client.process.host} `)) this.#last.delete(key)
    })
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => void client.process.timers.after(ms, resolve))
    member
      .run(
        async ({ partition, offset, epoch }, { signal }) => {
          const held = { life, signal, beganMs: this.#world.cluster.time.nowMs, isLost: false }
          this.#take(partition, held)
          this.#note(partition, epoch, offset, life)
          await sleep(this.#chance() < 0.03 ? 40_000 : between(this.#chance, 5, 500))
          this.#held.set(
            partition,
            (this.#held.get(partition) ?? []).filter((one) => one !== held),
          )
          if (!signal.aborted) this.handled[partition]?.add(Number(offset))
        },
        { concurrency: 1 + Math.floor(this.#chance() * 4) },
      )
      .catch((error: unknown) => void this.problems.push(`${member.memberId} ended with ${String(error)}`))
  }

  #close(life: Life): void {
    life.isClosing = true
    void life.member.close()
  }

  /** Dead, stopped, without its partition, or told long ago that its time is over: it does not count as a hand. */
  #take(partition: number, held: Held): void {
    const isGivenUp = ({ signal, beganMs }: Held): boolean => signal.aborted && held.beganMs - beganMs >= PATIENCE_MS
    const others = (this.#held.get(partition) ?? []).filter(
      (one) => one.life.client.process.isAlive && !one.life.client.process.isPaused && !one.isLost && !isGivenUp(one),
    )
    if (others.length > 0)
      this.problems.push(
        `partition ${partition} is in the hands of ${others[0]?.life.client.process.host} and ${held.life.client.process.host}`,
      )
    this.#held.set(partition, [...others, held])
  }

  #note(partition: number, epoch: number, offset: bigint, { client }: Life): void {
    const owner = this.#owners.get(`${partition} ${epoch}`) ?? client.process.host
    if (owner !== client.process.host)
      this.problems.push(`${owner} and ${client.process.host} have partition ${partition} in epoch ${epoch}`)
    this.#owners.set(`${partition} ${epoch}`, owner)
    const last = this.#last.get(`${owner} ${partition} ${epoch}`)
    if (last !== undefined && offset !== last + 1n) this.problems.push(`${owner} gets ${partition}@${offset} after ${last}`)
    this.#last.set(`${owner} ${partition} ${epoch}`, offset)
  }
}

it.each(Array.from({ length: 12 }, (_, n) => n + 1))('seed %d', async (seed) => {
  const w = await world(PARTITIONS, seed)
  const run = new Run(w, chanceOf(seed))
  for (let step = 0; step < STEPS; step++) await run.step()
  await run.settle()
  expect(run.problems).toEqual([])
})
