/** The power goes at every single call of a compaction, and again at every call of the recovery from that. */
import { describe, expect, it } from 'vitest'
import type { PartitionLog } from '../../log/partition-log.ts'
import { verifyPartition } from '../../log/verify.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { batchesOf, compact, compactedConfig, keyedBatch, recordsOf, roll } from './compaction-support.ts'
import { coin, createWorld, crashed, ManualTime, openDir, openOrders, PARTITION, type TestWorld } from './support.ts'

const config = compactedConfig({ deleteRetentionMs: 0, segmentBytes: 500 })

/** Everything takes minutes: by default every so many of the second kind. */
const IS_ALL = process.env.TIDEMARK_TEST_RUNS !== undefined
const CHANCES = IS_ALL ? [11, 222, 3333] : [11]

/** What of the unsynced a crash keeps: nothing, all, or what chance says. */
const LOSSES: readonly (readonly [string, (() => () => boolean) | undefined])[] = [
  ['nothing unsynced is kept', undefined],
  ['everything is kept', () => () => true],
  ...CHANCES.map((seed) => [`chance decides, seed ${seed}`, () => coin(seed)] as const),
]

/** Of these crashes every call of the recovery has another one. */
const FIRST_CRASH_STEP = IS_ALL ? 1 : 11

/** Pulls the plug of a world. */
interface Plug {
  /** At so many calls of its files from now; resolves with what is found afterwards. */
  pull(world: TestWorld, calls: number, keep: (() => boolean) | undefined): Promise<TestWorld>
  /** Calls since the last `pull` was asked for. */
  callCount(): number
}

async function open(world: TestWorld): Promise<PartitionLog> {
  return openOrders(await openDir(world, { openFilesMax: 4 }), config)
}

/** A log whose compaction drops some segments whole, merges others and leaves one as it is. */
async function filled(): Promise<{ readonly world: TestWorld; readonly log: PartitionLog; readonly plug: Plug }> {
  let left = Number.POSITIVE_INFINITY
  let callCount = 0
  let onCut: () => void = () => {}
  const pause = async (): Promise<void> => {
    callCount++
    if (left-- === 0) onCut()
  }
  const world = createWorld(new MemoryFiles({ pause }), new ManualTime())
  const log = await open(world)
  const x = 'x'.repeat(150)
  const put = async (key: string, value: string | null): Promise<void> => {
    log.append(await keyedBatch([[key, value]]), { leaderEpoch: 2 })
  }
  for (const n of [0, 1, 2, 3]) await put(`stays${n}`, x)
  for (let n = 0; n < 8; n++) await put('gone', x)
  for (const key of ['a', 'b', 'a', 'c', 'a', 'd', 'stays3']) await put(key, x)
  await put('gone', null)
  await log.flush()
  await roll(log, world)
  await put('a', 'active')
  await log.flush()
  const pull: Plug['pull'] = (plugged, calls, keep) => {
    left = calls
    callCount = 0
    return new Promise((resolve) => {
      onCut = () => resolve(crashed(plugged, keep))
    })
  }
  return { world, log, plug: { pull, callCount: () => callCount } }
}

/** The world after the power went at call `at` of a compaction; undefined when it ended before. */
async function interrupted(
  at: number,
  keep: (() => boolean) | undefined,
): Promise<{ readonly world: TestWorld; readonly plug: Plug } | undefined> {
  const { world, log, plug } = await filled()
  const power = plug.pull(world, at, keep)
  const survivor = await Promise.race([power, compact(log, world).then(() => undefined)])
  return survivor && { world: survivor, plug }
}

/** What is left in the end, when the tombstone has gone too. */
const EXPECTED = ['0 stays0', '1 stays1', '2 stays2', '13 b', '15 c', '16 a', '17 d', '18 stays3', '20 a']

/** Every batch, byte by byte: two logs of the same content are the same text. */
async function contentOf(log: PartitionLog): Promise<string> {
  return Buffer.concat(await batchesOf(log)).toString('base64')
}

async function expectSound(world: TestWorld, log: PartitionLog): Promise<void> {
  expect(log.logEndOffset).toBe(21)
  expect((await verifyPartition(world.files, PARTITION)).findings.filter(({ severity }) => severity === 'damage')).toEqual([])
  // Nothing is left of what was interrupted.
  const names = await world.files.list(PARTITION)
  expect(names.filter((name) => name.endsWith('.cleaned'))).toEqual([])
  expect(names.filter((name) => name.endsWith('.log')).length).toBe(log.describe().segmentCount)
}

/** The contents a log may have, from the old one to the new one, each a group of segments further. */
async function contentsOnTheWay(): Promise<{ readonly contents: string[]; readonly callCount: number }> {
  const contents: string[] = []
  for (let at = 0; ; at++) {
    const cut = await interrupted(at, () => true)
    if (cut === undefined) return { contents, callCount: at }
    const content = await contentOf(await open(cut.world))
    if (content !== contents.at(-1)) contents.push(content)
  }
}

describe('a crash at any call of a compaction', () => {
  it('leaves each group of segments as it was or as it was to be, and the next compaction ends the work', {
    timeout: 120_000,
  }, async () => {
    const { contents, callCount } = await contentsOnTheWay()
    // The old log, one for each group that was replaced, among them one of which nothing is left.
    expect(contents.length).toBeGreaterThanOrEqual(5)
    expect(callCount).toBeGreaterThan(60)
    for (const [name, keepOf] of LOSSES) {
      for (let at = 0; at < callCount; at++) {
        const cut = await interrupted(at, keepOf?.())
        if (cut === undefined) throw new Error(`${name}: there is no call ${at}`)
        const { world } = cut
        const log = await open(world)
        expect(contents, `${name}, call ${at}`).toContain(await contentOf(log))
        await expectSound(world, log)
        await compact(log, world)
        // Now the tombstone may go.
        world.time.advance(1)
        await compact(log, world)
        const left = (await recordsOf(log)).map(({ offset, key }) => `${offset} ${key}`)
        expect(left, `${name}, call ${at}`).toEqual(EXPECTED)
      }
    }
  })

  it('loses nothing though the checkpoint was moved away before', { timeout: 240_000 }, async () => {
    for (const [, keepOf] of LOSSES) {
      for (let at = 0; ; at += IS_ALL ? 1 : 3) {
        const { world, plug } = await filled()
        const killed = createWorld(world.files.kill(), world.time)
        await killed.files.remove(`${PARTITION}/checkpoint.json`)
        await killed.files.syncDirectory(PARTITION)
        const lost = await open(killed)
        expect(lost.logEndOffset).toBe(21)
        const power = plug.pull(killed, at, keepOf?.())
        const survivor = await Promise.race([power, compact(lost, killed).then(() => undefined)])
        if (survivor === undefined) break
        const log = await open(survivor)
        await expectSound(survivor, log)
        await compact(log, survivor)
        survivor.time.advance(1)
        await compact(log, survivor)
        expect((await recordsOf(log)).map(({ offset, key }) => `${offset} ${key}`)).toEqual(EXPECTED)
      }
    }
  })

  it('and again at any call of the recovery from it, changes nothing more', { timeout: 240_000 }, async () => {
    let recoveryCount = 0
    for (let at = 0; ; at += FIRST_CRASH_STEP) {
      const keep = (): (() => boolean) => coin(77 * at + 1)
      const cut = await interrupted(at, keep())
      if (cut === undefined) break
      const expected = await contentOf(await open(cut.world))
      for (let again = 0; ; again++) {
        const { world, plug } = (await interrupted(at, keep())) as NonNullable<typeof cut>
        const power = plug.pull(world, again, again % 2 === 0 ? undefined : coin(again))
        const survivor = await Promise.race([power, open(world).then(() => undefined)])
        if (survivor === undefined) break
        recoveryCount++
        const log = await open(survivor)
        expect(await contentOf(log), `call ${at}, call ${again} of the recovery`).toBe(expected)
        await expectSound(survivor, log)
      }
    }
    expect(recoveryCount).toBeGreaterThan(500)
  })
})
