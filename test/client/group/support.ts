/** A real node in the test process, with groups that react quickly, and members that note what happens to them. */
import { afterEach } from 'vitest'
import type { GroupConsumer } from '../../../client/group/group-consumer.ts'
import type { GroupEvents } from '../../../client/group/types.ts'
import type { Tidemark } from '../../../client/index.ts'
import { startTidemark, type StartTidemarkOptions, type TestTidemark } from '../../../testing/index.ts'

const open: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

export interface Started {
  readonly node: TestTidemark
  readonly tm: Tidemark
}

/** Closed at the end of the test. */
export async function start(groups: NonNullable<StartTidemarkOptions['config']>['groups'] = {}): Promise<Started> {
  const node = await startTidemark({
    config: { groups: { offsetsPartitions: 2, heartbeatIntervalMs: 200, sessionTimeoutMinMs: 100, ...groups } },
  })
  open.push(() => node.close())
  return { node, tm: await node.connect() }
}

/** `count` records with the values 0, 1, … into one partition. */
export async function fill(tm: Tidemark, topic: string, partition: number, count: number, from = 0): Promise<void> {
  const records = Array.from({ length: count }, (_, n) => ({ key: `k${(from + n) % 7}`, value: `${from + n}`, partition }))
  await tm.producer().send(topic, records)
}

/** Everything a member is told, as `event topic-partition…`, in order. */
export function notes(member: GroupConsumer<Buffer, Buffer>): string[] {
  const told: string[] = []
  const names = (partitions: readonly { readonly topic: string; readonly partition: number }[]): string =>
    partitions
      .map(({ topic, partition }) => `${topic}-${partition}`)
      .sort()
      .join(' ')
  member.on('assigned', ({ partitions }) => void told.push(`assigned ${names(partitions)}`))
  member.on('revoked', ({ partitions }) => void told.push(`revoked ${names(partitions)}`))
  member.on('lost', ({ partitions }) => void told.push(`lost ${names(partitions)}`))
  member.on('idle', ({ isIdle }) => void told.push(isIdle ? 'idle' : 'needed'))
  member.on('waiting', ({ error }) => void told.push(`waiting: ${error.code}`))
  member.on('stalled', ({ error }) => void told.push(`stalled: ${error.message}`))
  return told
}

/** Resolves with the next event of that name. */
export function once<Name extends keyof GroupEvents>(member: GroupConsumer<Buffer, Buffer>, name: Name): Promise<GroupEvents[Name]> {
  return new Promise((resolve) => {
    const off = member.on(name, (event) => {
      off()
      resolve(event)
    })
  })
}

/** What is committed, by `topic-partition`. */
export async function committed(tm: Tidemark, group: string): Promise<Record<string, number>> {
  const offsets = await tm.admin.groups.offsets(group)
  return Object.fromEntries(offsets.map(({ topic, partition, offset }) => [`${topic}-${partition}`, Number(offset)]))
}
