/**
 * What a crash of a member repeats or loses, by preset and by the point at which it comes: the table of docs/guarantees.md. On virtual time; a crash is a process
 * to which nothing happens any more.
 */
import { describe, expect, it } from 'vitest'
import type { AssignedPartition, GroupConsumerOptions } from '../../../client/index.ts'
import type { SimClient } from '../../sim/cluster.ts'
import { committedOf, join, type Received, send, type World, world } from './sim-support.ts'

const MINUTE = 60_000
const COUNT = 6

/** Crashes at the third record; returns what had an effect before and after, in order. */
async function crashAt(
  w: World,
  options: Partial<GroupConsumerOptions>,
  handle: (message: Received, client: SimClient, effect: () => void) => Promise<void> | void,
): Promise<string[]> {
  await send(w, COUNT)
  const effects: string[] = []
  const { client, member } = join(w, 'first', options)
  const run = member.run((message) => handle(message, client, () => void effects.push(String(message.value))))
  run.catch(() => {})
  await w.cluster.until(() => !client.process.isAlive, MINUTE)
  effects.push('crash')
  const { member: second } = join(w, 'second', options)
  void second.run((message) => void effects.push(String(message.value)))
  await w.cluster.advance(2 * MINUTE)
  return effects
}

const isThird = ({ offset }: Received): boolean => offset === 2n
/** Nothing happens to a dead process, its promises do not settle either. */
const never = (): Promise<void> => new Promise(() => {})
const die = ({ process }: SimClient): Promise<void> => {
  process.kill()
  return never()
}
const afterOneSecond = (w: World, then: () => void): Promise<void> =>
  new Promise((resolve) => {
    w.cluster.time.after(1000, () => {
      then()
      resolve()
    })
  })

describe('at-most-once', () => {
  const preset = { delivery: 'at-most-once' } as const

  it('loses the record in hand when the process dies before its effect', async () => {
    const w = await world()
    const effects = await crashAt(w, preset, (message, client, effect) => {
      return isThird(message) ? die(client) : effect()
    })
    expect(effects).toEqual(['0', '1', 'crash', '3', '4', '5'])
  })

  it('repeats nothing when the process dies after its effect', async () => {
    const w = await world()
    const effects = await crashAt(w, preset, (message, client, effect) => {
      effect()
      return isThird(message) ? die(client) : undefined
    })
    expect(effects).toEqual(['0', '1', '2', 'crash', '3', '4', '5'])
  })

  it('loses the record whose handler fails', async () => {
    const w = await world()
    await send(w, COUNT)
    const failing = join(w, 'first', preset).member.run((message) => {
      if (isThird(message)) throw new Error('no')
    })
    await expect(w.cluster.run(failing)).rejects.toThrow('no')
    expect(await committedOf(w)).toBe(3)
  })
})

describe('at-least-once', () => {
  it('repeats the record in hand when the process dies before its effect, and so loses nothing', async () => {
    const w = await world()
    const effects = await crashAt(w, {}, async (message, client, effect) => {
      if (isThird(message)) {
        await afterOneSecond(w, () => client.process.kill())
        return never()
      }
      effect()
    })
    expect(effects).toEqual(['0', '1', 'crash', '2', '3', '4', '5'])
  })

  it('repeats the effect when the process dies between effect and commit', async () => {
    const w = await world()
    const effects = await crashAt(w, {}, async (message, client, effect) => {
      effect()
      if (!isThird(message)) return
      await afterOneSecond(w, () => client.process.kill())
      return never()
    })
    expect(effects).toEqual(['0', '1', '2', 'crash', '2', '3', '4', '5'])
  })

  it('repeats nothing when the process dies after the commit', async () => {
    const w = await world()
    const effects = await crashAt(w, { commit: 'manual' }, async (message, client, effect) => {
      effect()
      await message.commit()
      return isThird(message) ? die(client) : undefined
    })
    expect(effects).toEqual(['0', '1', '2', 'crash', '3', '4', '5'])
  })

  it('with handlers side by side repeats what overtook a record that was in hand', async () => {
    const w = await world()
    await send(w, COUNT)
    const effects: string[] = []
    const { client, member } = join(w, 'first')
    void member.run(
      async ({ value }) => {
        if (String(value) === '1') return never()
        effects.push(String(value))
      },
      { concurrency: COUNT, ordering: 'key' },
    )
    await w.cluster.advance(5000)
    client.process.kill()
    effects.push('crash')
    void join(w, 'second').member.run(({ value }) => void effects.push(String(value)))
    await w.cluster.advance(2 * MINUTE)
    expect(effects).toEqual(['0', '2', '3', '4', '5', 'crash', '1', '2', '3', '4', '5'])
  })

  it('with commits every so often repeats what was done since the last one', async () => {
    const w = await world()
    const effects = await crashAt(w, { commit: { interval: '1h' } }, (message, client, effect) => {
      effect()
      return isThird(message) ? die(client) : undefined
    })
    expect(effects).toEqual(['0', '1', '2', 'crash', '0', '1', '2', '3', '4', '5'])
  })
})

/** Results and offsets of partitions in one place, changed together, as a database would. */
class Store {
  readonly results: string[] = []
  readonly #rows = new Map<number, { epoch: number; offset: bigint | undefined }>()

  load({ partition, epoch }: AssignedPartition): bigint | undefined {
    const row = this.#rows.get(partition) ?? { epoch: 0, offset: undefined }
    this.#rows.set(partition, { ...row, epoch: Math.max(epoch, row.epoch) })
    return row.offset
  }

  /** False: a newer holder of the partition exists. */
  transaction({ partition, epoch, offset, value }: Received): boolean {
    if ((this.#rows.get(partition)?.epoch ?? 0) > epoch) return false
    this.#rows.set(partition, { epoch, offset: offset + 1n })
    this.results.push(String(value))
    return true
  }
}

describe('effectively-once', () => {
  it.each(['before', 'after'] as const)('neither repeats nor loses when the process dies %s the transaction', async (when) => {
    const w = await world()
    const store = new Store()
    const preset: Partial<GroupConsumerOptions> = { delivery: 'effectively-once', offsets: store }
    await send(w, COUNT)
    const { client, member } = join(w, 'first', preset)
    void member.run((message) => {
      if (when === 'after' || !isThird(message)) store.transaction(message)
      return isThird(message) ? die(client) : undefined
    })
    await w.cluster.until(() => !client.process.isAlive, MINUTE)
    void join(w, 'second', preset).member.run((message) => void store.transaction(message))
    await w.cluster.advance(2 * MINUTE)
    expect(store.results).toEqual(['0', '1', '2', '3', '4', '5'])
    expect(await committedOf(w)).toBe(6)
  })

  it('refuses the late transaction of a process that was stopped while another took over', async () => {
    const w = await world()
    const store = new Store()
    const preset: Partial<GroupConsumerOptions> = { delivery: 'effectively-once', offsets: store }
    await send(w, COUNT)
    const { client, member } = join(w, 'first', preset)
    let late: boolean | undefined
    void member.run(async (message) => {
      if (isThird(message) && late === undefined) {
        client.process.pause()
        await afterOneSecond(w, () => {})
        await new Promise<void>((resolve) => void w.cluster.time.after(2 * MINUTE, resolve))
        late = store.transaction(message)
      } else store.transaction(message)
    })
    await w.cluster.until(() => client.process.isPaused, MINUTE)
    void join(w, 'second', preset).member.run((message) => void store.transaction(message))
    await w.cluster.advance(MINUTE)
    client.process.resume()
    await w.cluster.advance(2 * MINUTE)
    expect([late, store.results]).toEqual([false, ['0', '1', '2', '3', '4', '5']])
  })
})
