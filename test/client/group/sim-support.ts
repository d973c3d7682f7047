/** A node and members of a group on virtual time, where processes are stopped, killed and cut off. */
import type { GroupConsumerOptions, GroupMessage } from '../../../client/index.ts'
import type { GroupConsumer } from '../../../client/group/group-consumer.ts'
import { type SimClient, SimCluster } from '../../sim/cluster.ts'

export type Member = GroupConsumer<Buffer, Buffer>
export type Received = GroupMessage<Buffer, Buffer>

export interface World {
  readonly cluster: SimCluster
  /** Lives as long as the test. */
  readonly outside: SimClient
}

export async function world(partitions = 1, seed = 1, nodeCount = 1): Promise<World> {
  const cluster = new SimCluster({ seed, nodeCount })
  await cluster.begin()
  const outside = cluster.openClient('outside')
  await cluster.run(outside.tm.admin.createTopic('orders', { partitions }))
  return { cluster, outside }
}

export function send({ cluster, outside }: World, count: number, partition = 0, from = 0): Promise<unknown> {
  const records = Array.from({ length: count }, (_, n) => ({ value: `${from + n}`, partition }))
  return cluster.run(outside.tm.producer().send('orders', records))
}

/** A member in a process of its own. */
export function join(
  { cluster }: World,
  name: string,
  options: Partial<GroupConsumerOptions> = {},
): { readonly client: SimClient; readonly member: Member } {
  const client = cluster.openClient(name)
  return { client, member: client.tm.consumer('orders', { group: 'billing', start: 'earliest', ...options } as GroupConsumerOptions) }
}

/** What is committed of partition 0. */
export async function committedOf({ cluster, outside }: World, partition = 0): Promise<number | undefined> {
  const offsets = await cluster.run(outside.tm.admin.groups.offsets('billing'))
  const found = offsets.find((one) => one.partition === partition)
  return found === undefined ? undefined : Number(found.offset)
}

/** What a promise came to, once it has. */
export function outcomeOf(work: Promise<unknown>): { value?: unknown; error?: unknown; isOver: boolean } {
  const outcome: { value?: unknown; error?: unknown; isOver: boolean } = { isOver: false }
  work.then(
    (value) => Object.assign(outcome, { value, isOver: true }),
    (error: unknown) => Object.assign(outcome, { error, isOver: true }),
  )
  return outcome
}
