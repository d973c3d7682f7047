/** Members of a group through a real node. */
import { describe, expect, it } from 'vitest'
import type { GroupConsumer, GroupMessage } from '../../../client/index.ts'
import { codeOf, failureOf, numbers } from '../support.ts'
import { committed, fill, notes, once, start } from './support.ts'

type Member = GroupConsumer<Buffer, Buffer>

/** So many values, each committed. */
async function take(member: Member, count: number): Promise<string[]> {
  const values: string[] = []
  for await (const message of member) {
    values.push(String(message.value))
    await message.commit()
    if (values.length === count) break
  }
  return values
}

describe('a group', () => {
  it('goes on where it has come to when its consumer starts again', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 20)
    const from = { group: 'billing', start: 'earliest' } as const
    expect(await take(tm.consumer('orders', from), 7)).toEqual(numbers(7))
    expect(await take(tm.consumer('orders', from), 5)).toEqual(numbers(5, 7))
    expect(await committed(tm, 'billing')).toEqual({ 'orders-0': 12 })
  })

  it('reads at its own pace beside others', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 20)
    expect(await take(tm.consumer('orders', { group: 'one', start: 'earliest' }), 15)).toEqual(numbers(15))
    expect(await take(tm.consumer('orders', { group: 'two', start: 'earliest' }), 20)).toEqual(numbers(20))
  })

  it('divides partitions, hands them over when a member comes and goes, and repeats nothing', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders', { partitions: 4 })
    const seen: string[] = []
    const options = { group: 'billing', start: 'earliest' } as const
    const [a, b] = [tm.consumer('orders', options), tm.consumer('orders', options)]
    const [toldA, toldB] = [notes(a), notes(b)]
    const read = (member: Member): Promise<void> => member.run(({ value }) => void seen.push(String(value)))
    const first = once(a, 'assigned')
    const runA = read(a)
    await first
    for (let partition = 0; partition < 4; partition++) await fill(tm, 'orders', partition, 10, partition * 10)
    const second = once(b, 'assigned')
    const runB = read(b)
    await second
    for (let partition = 0; partition < 4; partition++) await fill(tm, 'orders', partition, 10, 40 + partition * 10)
    await expect.poll(() => seen.length).toBe(80)
    const back = once(a, 'assigned')
    await b.close()
    await runB
    await back
    for (let partition = 0; partition < 4; partition++) await fill(tm, 'orders', partition, 5, 80 + partition * 5)
    await expect.poll(() => seen.length).toBe(100)
    await a.close()
    await runA
    expect(seen.map(Number).sort((x, y) => x - y)).toEqual([...Array(100).keys()])
    expect(toldA).toEqual(['assigned orders-0 orders-1 orders-2 orders-3', 'revoked orders-2 orders-3', 'assigned orders-2 orders-3'])
    expect(toldB).toEqual(['assigned orders-2 orders-3'])
    expect(await committed(tm, 'billing')).toEqual({ 'orders-0': 25, 'orders-1': 25, 'orders-2': 25, 'orders-3': 25 })
  })

  it('tells a member beyond the number of partitions that it waits in reserve, and when it is needed', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    const options = { group: 'billing', start: 'earliest' } as const
    const [a, b] = [tm.consumer('orders', options), tm.consumer('orders', options)]
    const first = once(a, 'assigned')
    const runA = a.run(() => {})
    await first
    const told = notes(b)
    const idle = once(b, 'idle')
    const runB = b.run(() => {})
    expect(await idle).toEqual({ isIdle: true })
    const needed = once(b, 'assigned')
    await a.close()
    await needed
    await b.close()
    await Promise.all([runA, runB])
    expect([...told].sort()).toEqual(['assigned orders-0', 'idle', 'needed'])
  })

  it('tells a second process with the same instance id, once, that it waits; it gets the place when the first one leaves', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    const options = { group: 'billing', start: 'earliest', instanceId: 'one' } as const
    const [a, b] = [tm.consumer('orders', options), tm.consumer('orders', options)]
    const first = once(a, 'assigned')
    const runA = a.run(() => {})
    await first
    const told = notes(b)
    const waiting = once(b, 'waiting')
    const runB = b.run(() => {})
    expect((await waiting).error).toMatchObject({
      code: 'UNRELEASED_INSTANCE_ID',
      message: expect.stringMatching(/^one of group billing is member/),
    })
    const assigned = once(b, 'assigned')
    await a.close()
    await assigned
    await b.close()
    await Promise.all([runA, runB])
    expect(told).toEqual(['waiting: UNRELEASED_INSTANCE_ID', 'assigned orders-0'])
  })

  it('says, when it gives up, that another process has its instance id', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    const options = { group: 'billing', start: 'earliest', instanceId: 'one' } as const
    const a = tm.consumer('orders', options)
    const first = once(a, 'assigned')
    const runA = a.run(() => {})
    await first
    const b = tm.consumer('orders', { ...options, stallTimeout: '300ms', closeTimeout: '10ms' })
    await expect(b.run(() => {})).rejects.toMatchObject({
      code: 'STALLED',
      message: expect.stringMatching(/has not let this member in for more than 300ms: one of group billing is member/),
    })
    await a.close()
    await runA
  })

  it('reads topics that a regular expression finds, also those made later, from their start', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('audit.eu')
    await fill(tm, 'audit.eu', 0, 3)
    const seen: string[] = []
    const member = tm.consumer(/^Audit\.\w+$/i, { group: 'audit', start: 'latest' })
    const first = once(member, 'assigned')
    const run = member.run(({ topic, value }) => void seen.push(`${topic} ${String(value)}`))
    await first
    const second = once(member, 'assigned')
    await tm.admin.createTopic('audit.us')
    await tm.admin.createTopic('other')
    await fill(tm, 'audit.us', 0, 2)
    await second
    await expect.poll(() => seen).toEqual(['audit.us 0', 'audit.us 1'])
    await member.close()
    await run
  })

  it('reads partitions that a topic gets later from their start', async () => {
    const { node, tm } = await start()
    await tm.admin.createTopic('orders')
    const member = tm.consumer('orders', { group: 'billing', start: 'latest' })
    const first = once(member, 'assigned')
    const values: string[] = []
    const run = member.run(({ value }) => void values.push(String(value)))
    await first
    await tm.admin.growTopic('orders', 2)
    await fill(await node.connect(), 'orders', 1, 3)
    await expect.poll(() => values).toEqual(numbers(3))
    await member.close()
    await run
  })
})

describe('where a new group begins', () => {
  it('is said, is remembered before the first record, and is an error where only what was committed counts', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 10)
    expect(await failureOf(tm.consumer('orders', { group: 'new', start: 'committed' }).run(() => {}))).toMatchObject({
      code: 'OFFSET_NOT_COMMITTED',
      message: 'group new has not committed an offset of orders-0',
    })
    const latest = tm.consumer('orders', { group: 'new', start: 'latest' })
    const first = once(latest, 'assigned')
    const run = latest.run(() => {})
    expect(await first).toMatchObject({ partitions: [{ topic: 'orders', partition: 0, offset: 10n }] })
    await latest.close()
    await run
    // What comes while nobody is there is not passed over.
    await fill(tm, 'orders', 0, 2, 10)
    expect(await take(tm.consumer('orders', { group: 'new', start: 'latest' }), 2)).toEqual(['10', '11'])
    await fill(tm, 'orders', 0, 1, 12)
    expect(await take(tm.consumer('orders', { group: 'new', start: 'committed' }), 1)).toEqual(['12'])
  })

  it('does not count for a topic that does not exist', async () => {
    const { tm } = await start()
    expect(await codeOf(tm.consumer('missing', { group: 'g', start: 'earliest' }).run(() => {}))).toBe('UNKNOWN_TOPIC')
  })
})

describe('a commit', () => {
  it('of the iterator covers what was given before; what was not committed is repeated', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 10)
    const options = { group: 'billing', start: 'earliest' } as const
    let count = 0
    for await (const message of tm.consumer('orders', options)) {
      count++
      if (count === 4) await message.commit({ metadata: 'mark' })
      if (count === 6) break
    }
    expect(await tm.admin.groups.offsets('billing')).toMatchObject([{ topic: 'orders', partition: 0, offset: 4n, metadata: 'mark' }])
    expect(await take(tm.consumer('orders', options), 1)).toEqual(['4'])
  })

  it('by the consumer covers all that the iterator gave, the last one too', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 10)
    const member = tm.consumer('orders', { group: 'billing', start: 'earliest' })
    let count = 0
    for await (const _ of member) {
      if (++count < 3) continue
      await member.commit()
      expect(await committed(tm, 'billing')).toEqual({ 'orders-0': 3 })
      await member.commit([{ topic: 'orders', partition: 0, offset: 1n }])
      expect(await committed(tm, 'billing')).toEqual({ 'orders-0': 1 })
      break
    }
  })

  it('every so often covers what was done, and closing commits the rest', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 10)
    let count = 0
    for await (const _ of tm.consumer('orders', { group: 'billing', start: 'earliest', commit: { interval: '20ms' } })) {
      if (++count === 5) await expect.poll(() => committed(tm, 'billing')).toEqual({ 'orders-0': 4 })
      if (count === 8) break
    }
    // The one in hand when the loop was left was not said to be done.
    expect(await committed(tm, 'billing')).toEqual({ 'orders-0': 7 })
  })

  it('of a batch covers the batch; of the web stream what was pulled', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 10)
    for await (const batch of tm.consumer('orders', { group: 'batches', start: 'earliest' }).batches()) {
      expect(batch.messages).toHaveLength(10)
      await batch.commit()
      break
    }
    expect(await committed(tm, 'batches')).toEqual({ 'orders-0': 10 })
    const stream = tm.consumer('orders', { group: 'stream', start: 'earliest', commit: 'handled' }).readable()
    const values: string[] = []
    for await (const { value } of stream) {
      values.push(String(value))
      if (values.length === 3) break
    }
    expect([values, await committed(tm, 'stream')]).toEqual([numbers(3), { 'orders-0': 2 }])
  })

  it('in run with handlers side by side covers only what is done without a gap', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 14)
    const gates = new Map([0, 3].map((n) => [String(n), Promise.withResolvers<void>()]))
    const done: string[] = []
    const member = tm.consumer('orders', { group: 'billing', start: 'earliest' })
    const run = member.run(
      async ({ value }) => {
        await gates.get(String(value))?.promise
        done.push(String(value))
      },
      { concurrency: 10, ordering: 'key' },
    )
    // Keys are the numbers modulo 7: 7 waits for 0, 10 for 3.
    await expect.poll(() => done.length).toBe(10)
    expect(await committed(tm, 'billing')).toEqual({ 'orders-0': 0 })
    gates.get('0')?.resolve()
    await expect.poll(() => committed(tm, 'billing')).toEqual({ 'orders-0': 3 })
    gates.get('3')?.resolve()
    await expect.poll(() => committed(tm, 'billing')).toEqual({ 'orders-0': 14 })
    expect(done.indexOf('7')).toBeGreaterThan(done.indexOf('0'))
    await member.close()
    await run
  })
})

describe('closing', () => {
  it('lets handlers finish, begins nothing new, commits and leaves at once', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 10)
    const gate = Promise.withResolvers<void>()
    const begun: string[] = []
    const stop = new AbortController()
    const member = tm.consumer('orders', { group: 'billing', start: 'earliest' })
    const run = member.run(
      async ({ value }) => {
        begun.push(String(value))
        if (begun.length === 3) {
          stop.abort()
          await gate.promise
        }
      },
      { signal: stop.signal },
    )
    await expect.poll(() => begun).toEqual(numbers(3))
    gate.resolve()
    await run
    expect([begun, await committed(tm, 'billing')]).toEqual([numbers(3), { 'orders-0': 3 }])
    expect(await tm.admin.groups.describe('billing')).toMatchObject({ state: 'empty', members: [] })
  })

  it('waits no longer than it may: the signal of the handler aborts, and its message is repeated', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 3)
    const member = tm.consumer('orders', { group: 'billing', start: 'earliest', closeTimeout: '50ms' })
    const begun = Promise.withResolvers<AbortSignal>()
    const run = member.run((_, { signal }) => {
      begun.resolve(signal)
      return new Promise(() => {})
    })
    const signal = await begun.promise
    await tm.close()
    expect(signal.aborted).toBe(true)
    await run
  })

  it('follows a handler that fails: what it had is not committed, and run rejects with what it threw', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 5)
    const failing = tm.consumer('orders', { group: 'billing', start: 'earliest' }).run(({ value }) => {
      if (String(value) === '2') throw new Error('not that one')
    })
    await expect(failing).rejects.toThrow('not that one')
    expect(await committed(tm, 'billing')).toEqual({ 'orders-0': 2 })
    expect(await tm.admin.groups.describe('billing')).toMatchObject({ members: [] })
  })

  it('by a signal ends the iterator with CANCELLED', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    const abort = new AbortController()
    const member = tm.consumer('orders', { group: 'billing', start: 'earliest', signal: abort.signal })
    const assigned = once(member, 'assigned')
    const next = member[Symbol.asyncIterator]().next()
    await assigned
    abort.abort()
    expect(await codeOf(next)).toBe('CANCELLED')
    await member.ended
    expect(await tm.admin.groups.describe('billing')).toMatchObject({ members: [] })
  })
})

describe('at work', () => {
  it('a member seeks, pauses and says how far behind it is', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 10)
    const member = tm.consumer('orders', { group: 'billing', start: 'earliest' })
    const messages = member[Symbol.asyncIterator]()
    const next = async (): Promise<GroupMessage<Buffer, Buffer>> => (await messages.next()).value as GroupMessage<Buffer, Buffer>
    await (await next()).commit()
    expect(await member.lag()).toMatchObject([{ topic: 'orders', partition: 0, committed: 1n, highWatermark: 10n, lag: 9n }])
    member.seek({ topic: 'orders', partition: 0, offset: 7n })
    const seventh = await next()
    expect([String(seventh.value), member.positions()]).toEqual(['7', [{ topic: 'orders', partition: 0, offset: 10n }]])
    member.pause()
    await fill(tm, 'orders', 0, 1, 10)
    expect([String((await next()).value), String((await next()).value)]).toEqual(['8', '9'])
    const waiting = next()
    const isEarly = await Promise.race([waiting.then(() => true), fill(tm, 'orders', 0, 1, 11).then(() => false)])
    member.resume()
    expect([isEarly, String((await waiting).value)]).toEqual([false, '10'])
    await messages.return()
  })

  it('a member whose offsets are reset begins again there, and what it commits of before is refused', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders')
    await fill(tm, 'orders', 0, 10)
    const member = tm.consumer('orders', { group: 'billing', start: 'earliest' })
    const told = notes(member)
    const values: string[] = []
    for await (const message of member) {
      values.push(String(message.value))
      if (values.length === 8) {
        const [reset] = await tm.admin.groups.resetOffsets('billing', { shift: 2 })
        expect(reset).toMatchObject({ previous: 5n, offset: 7n, memberId: member.memberId })
        expect(await codeOf(message.commit())).toBe('STALE_MEMBER_EPOCH')
      } else if (values.length === 5) await message.commit()
      if (values.length === 11) break
    }
    expect(values).toEqual([...numbers(8), '7', '8', '9'])
    expect(told).toEqual(['assigned orders-0', 'lost orders-0', 'assigned orders-0'])
  })

  it('a static member finds its partitions again after a restart, and nobody else moves', async () => {
    const { tm } = await start()
    await tm.admin.createTopic('orders', { partitions: 4 })
    const options = { group: 'billing', start: 'earliest' } as const
    const other = tm.consumer('orders', options)
    const told = notes(other)
    const runs = [other.run(() => {})]
    const one = tm.consumer('orders', { ...options, instanceId: 'one' })
    const had = once(one, 'assigned')
    runs.push(one.run(() => {}))
    const partitions = ({ partitions }: Awaited<typeof had>): number[] => partitions.map(({ partition }) => partition)
    const before = partitions(await had)
    await one.close()
    const again = tm.consumer('orders', { ...options, instanceId: 'one' })
    const has = once(again, 'assigned')
    runs.push(again.run(() => {}))
    expect(partitions(await has)).toEqual(before)
    await again.close()
    await other.close()
    await Promise.all(runs)
    expect(told.filter((note) => note.startsWith('assigned')).length).toBeLessThanOrEqual(2)
  })
})

it('a group needs to be told where it begins, and settings that fit together', async () => {
  const { tm } = await start()
  expect(() => tm.consumer('orders', { group: 'g' } as never)).toThrow('never guessed')
  expect(() => tm.consumer('orders', { group: '', start: 'earliest' })).toThrow('group id')
  expect(() => tm.consumer('orders', { group: 'g', start: 'earliest', delivery: 'effectively-once' } as never)).toThrow('`offsets`')
  expect(() => tm.consumer('orders', { group: 'g', start: 'earliest', delivery: 'at-most-once', commit: 'handled' })).toThrow(
    'at-most-once',
  )
  expect(() => tm.consumer(/x/, { start: 'earliest' } as never)).toThrow('need a group')
})
