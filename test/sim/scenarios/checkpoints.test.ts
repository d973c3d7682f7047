/** A follower whose checkpoint does not say what its log is, though its checksum is right: written by hand, or put together from two backups. */
import { describe, expect, it } from 'vitest'
import { type Checkpoint, parseCheckpoint, serializeCheckpoint } from '../../../log/checkpoint.ts'
import { readSmallFile, writeFileAtomic } from '../../../runtime/atomic-file.ts'
import type { SimNode } from '../node.ts'
import { play, type Scenario, TOPIC } from './scenario.ts'

const DIRECTORY = `/data/topics/${TOPIC}-0`
const SEGMENT = `${DIRECTORY}/${'0'.repeat(20)}.log`
const RECORDS = 8
/** In a batch. */
const LEADER_EPOCH = 15

/** Nothing is read from memory; nobody looks for damage by himself. */
const COLD = { nodeCount: 4, tailCacheBytes: 0, config: { scrubPeriodMs: 0 } } as const

type Change = (checkpoint: Checkpoint) => Partial<Checkpoint>

async function rewrite({ disk }: SimNode, change: Change): Promise<void> {
  const path = `${DIRECTORY}/checkpoint.json`
  const checkpoint = parseCheckpoint((await readSmallFile(disk.files, path)) as Buffer, path)
  await writeFileAtomic(disk.files, DIRECTORY, 'checkpoint.json', serializeCheckpoint({ ...checkpoint, ...change(checkpoint) }))
}

async function cut({ disk }: SimNode, sizeBytes: number): Promise<void> {
  const handle = await disk.files.open(SEGMENT, 'readWrite')
  await handle.truncate(sizeBytes)
  await handle.datasync()
  await handle.close()
}

/** Of the last segment. */
const sized = ({ segments }: Checkpoint, sizeBytes: number): Pick<Checkpoint, 'segments'> => ({
  segments: segments.map((mark, at) => (at === segments.length - 1 ? { ...mark, sizeBytes } : mark)),
})
const sizeOf = ({ segments }: Checkpoint): number => segments.at(-1)?.sizeBytes ?? 0

const WRONG: readonly (readonly [what: string, change: Change])[] = [
  ['ends far behind where it does', ({ recoveryOffset }) => ({ recoveryOffset: recoveryOffset + 1000 })],
  ['ends a little behind where it does', ({ recoveryOffset }) => ({ recoveryOffset: recoveryOffset + 2 })],
  ['ends before where it does', ({ recoveryOffset }) => ({ recoveryOffset: recoveryOffset - 3 })],
  ['is empty', ({ segments }) => ({ recoveryOffset: 0, segments: segments.slice(0, 0) })],
  ['is empty, at its end', () => ({ segments: [] })],
  ['has a batch less', (checkpoint) => sized(checkpoint, (sizeOf(checkpoint) / RECORDS) * (RECORDS - 1))],
  ['ends within a batch', (checkpoint) => sized(checkpoint, sizeOf(checkpoint) - 10)],
  ['has no bytes', (checkpoint) => sized(checkpoint, 0)],
  ['begins behind its end', ({ recoveryOffset }) => ({ logStartOffset: recoveryOffset + 5 })],
  ['has gaps', ({ compaction }) => ({ compaction: { ...compaction, sparseBelow: 1000 } })],
]

/** One follower has a checkpoint at its end and is down; what is wrong with it is said by `damage`. */
async function withDamaged(
  s: Scenario,
  { isCounted, isClean, later }: { readonly isCounted: boolean; readonly isClean: boolean; readonly later: number },
  damage: (node: SimNode) => Promise<void>,
): Promise<SimNode> {
  const [a, b, c] = s.nodesByController as [number, number, number]
  await s.place(a, b, c)
  const victim = s.node(b)
  for (let sent = 0; sent < RECORDS; sent++) await s.send(1)
  await s.until('it has all on disk', () => s.replicaOn(victim).log.flushedOffset === RECORDS)
  await s.cluster.run(s.replicaOn(victim).log.checkpoint())
  s.cluster.oracles.expectsError = (nodeId, event) =>
    nodeId === b &&
    ['replica.damaged', 'partition.open-failed', 'partition.failed', 'replica.set-aside', 'replica.postponed'].includes(event)
  if (isClean) await s.cluster.run(victim.stop())
  else victim.kill()
  await damage(victim)
  if (!isCounted) await s.until('it is out', () => !s.state.isr.includes(b) && !s.state.elr.includes(b))
  for (let sent = 0; sent < later; sent++) await s.send(1)
  victim.start()
  return victim
}

async function untilCaughtUp(s: Scenario, victim: SimNode, end: number): Promise<void> {
  await s.until('it has caught up', () => {
    const log = s.cluster.partitionOf(victim, TOPIC)?.log
    return s.state.isr.length === 3 && log?.flushedOffset === end && log.logEndOffset === end
  })
  // It has all of it: it can lead.
  await s.lead(victim.nodeId)
  s.follow()
  await s.until('everything can be read there', () => s.history.readCount >= end)
}

describe.each([
  ['nobody counts on, of a node that was killed,', { isCounted: false, isClean: false }],
  ['is counted on, of a node that was killed,', { isCounted: true, isClean: false }],
  ['nobody counts on, of a node that was stopped,', { isCounted: false, isClean: true }],
])('a copy that %s', (_, how) => {
  it.each(WRONG.flatMap(([what, change]) => [0, 5].map((later) => [what, later, change] as const)))(
    'K33 whose checkpoint says that it %s catches up, %i records later',
    (_what, later, change) =>
      play(COLD, async (s) => {
        const victim = await withDamaged(s, { ...how, later }, (node) => rewrite(node, change))
        await untilCaughtUp(s, victim, RECORDS + later)
      }),
  )
})

it('K23 K33 a copy that ends before the start of its leader catches up', () =>
  play(COLD, async (s) => {
    const victim = await withDamaged(s, { isCounted: false, isClean: false, later: 4 }, async (node) => {
      const path = `${DIRECTORY}/checkpoint.json`
      const checkpoint = parseCheckpoint((await readSmallFile(node.disk.files, path)) as Buffer, path)
      const size = (sizeOf(checkpoint) / RECORDS) * 2
      await cut(node, size)
      await rewrite(node, (one) => ({ recoveryOffset: 2, ...sized(one, size) }))
      await s.cluster.run(s.admin.deleteRecords(TOPIC, 0, 6n))
    })
    await s.until('it has caught up', () => s.state.isr.length === 3 && s.replicaOn(victim).log.flushedOffset === RECORDS + 4)
    expect(s.replicaOn(victim).log.logStartOffset).toBe(6)
    expect(s.countOf('replica.begun-anew', victim.nodeId)).toBe(1)
    // What was deleted is nobody's loss, but the history does not know of it.
    s.acceptLoss()
  }))

it('K33 a copy that turns out to be damaged when its end has been cut off is fetched anew', () =>
  play({ ...COLD, configs: { 'min.insync.replicas': '1' } }, async (s) => {
    const [a, b, c] = s.nodesByController as [number, number, number]
    await s.place(a, b, c)
    const old = s.node(a)
    for (let sent = 0; sent < 3; sent++) await s.send(1)
    s.cutApart(a, b, c)
    await s.leave('lost')
    const { log } = s.replicaOn(old)
    await s.cluster.run(log.checkpoint())
    const second = (await s.cluster.run(log.read(0, 1, 1)))[0]?.length ?? 0
    old.kill()
    await s.until(
      'another leads, and nobody counts on it',
      () => s.state.leader !== a && !s.state.isr.includes(a) && !s.state.elr.includes(a),
    )
    s.cluster.network.heal()
    // The epoch of a batch, which has no checksum: when the file of the epochs is made again after the cut, it shows.
    await old.disk.flip(SEGMENT, second + LEADER_EPOCH)
    s.cluster.oracles.expectsError = (nodeId) => nodeId === a
    await s.send(2, 'p2')
    old.start()
    await untilCaughtUp(s, old, 5)
    expect(s.countOf('replica.truncated', a)).toBe(1)
    expect(s.countOf('replica.set-aside', a)).toBe(1)
  }))
