/** An operator who changes things while others go wrong: moves replicas, gives leadership back, changes settings, makes and deletes topics. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { SimClient, SimCluster } from './cluster.ts'
import { between, type Chance, pick } from '../../scripts/random.ts'

const REPLICAS = 3

export class Operator {
  readonly #cluster: SimCluster
  readonly #chance: Chance
  readonly #topics: readonly string[]
  readonly #client: SimClient
  #count = 0
  #isStopped = false

  constructor(cluster: SimCluster, chance: Chance, topics: readonly string[]) {
    this.#cluster = cluster
    this.#chance = chance
    this.#topics = topics
    this.#client = cluster.openClient('o1')
  }

  start(): void {
    const { timers } = this.#client.process
    const again = (): void => {
      if (this.#isStopped) return
      this.#act().then(
        () => timers.after(between(this.#chance, 100, 1500), again),
        (error: unknown) => {
          this.#cluster.trace.say('o1', `was refused: ${TidemarkError.from(error).code}`)
          timers.after(between(this.#chance, 100, 1500), again)
        },
      )
    }
    timers.after(between(this.#chance, 100, 1500), again)
  }

  stop(): void {
    this.#isStopped = true
  }

  #act(): Promise<unknown> {
    const { admin } = this.#client.tm
    const topic = pick(this.#chance, this.#topics)
    const kind = this.#chance()
    this.#cluster.trace.say('o1', `acts on ${topic} (${kind.toFixed(2)})`)
    if (kind < 0.3) return admin.cluster.reassign(topic, 0, this.#someNodes())
    if (kind < 0.35) return admin.cluster.reassign(topic, 0, undefined)
    if (kind < 0.55) return admin.cluster.electLeaders([{ topic }])
    if (kind < 0.75)
      return admin.alterConfigs(topic, {
        set: { 'min.insync.replicas': pick(this.#chance, this.#cluster.seed % 2 === 0 ? ['1', '2'] : ['2', '3']) },
      })
    const name = `other-${this.#count++ % 3}`
    return kind < 0.9 ? admin.createTopic(name, { partitions: 2, replicas: this.#chance() < 0.5 ? 2 : REPLICAS }) : admin.deleteTopic(name)
  }

  #someNodes(): number[] {
    const ids = this.#cluster.nodes.map(({ nodeId }) => nodeId)
    while (ids.length > REPLICAS) ids.splice(Math.floor(this.#chance() * ids.length), 1)
    for (let at = ids.length - 1; at > 0; at--) {
      const other = Math.floor(this.#chance() * (at + 1))
      ;[ids[at], ids[other]] = [ids[other] as number, ids[at] as number]
    }
    return ids
  }
}
