/** `tidemark cluster leaders | reassign | quorum`: who leads what, where replicas are, who votes. */
import type { Command } from 'commander'
import { TidemarkError } from '../protocol/errors.ts'
import { collect, wholeNumber } from './arguments.ts'
import { type GlobalOptions, withClient } from './context.ts'
import { note, printRows } from './output.ts'
import { confirm } from './prompt.ts'
import { noteIfUnled } from './unled.ts'

interface ElectFlags {
  readonly topic?: readonly string[]
  readonly unclean?: boolean
}

export function addPartitionVerbs(cluster: Command): void {
  const leaders = cluster.command('leaders').description('who leads each partition')
  leaders.command('list', { isDefault: true }).action((_flags: object, command: Command) => listLeaders(command.optsWithGlobals()))
  leaders
    .command('elect')
    .description('give partitions back to the first of their replicas')
    .option('--topic <name>', 'of this topic only; may be repeated', collect)
    .option('--unclean', 'where nobody is left that has everything: let one lead that may lack records')
    .action((flags: ElectFlags, command: Command) => elect(flags, command.optsWithGlobals()))
  const reassign = cluster.command('reassign').description('move replicas to other nodes')
  reassign
    .command('list', { isDefault: true })
    .description('the moves under way')
    .action((_flags: object, command: Command) => moves(command.optsWithGlobals()))
  reassign
    .command('move <topic> <partition> <nodes>')
    .description('put the replicas of a partition on these nodes, such as 1,2,3, the preferred leader first')
    .action((topic: string, partition: string, nodes: string, _flags: object, command: Command) =>
      move(topic, wholeNumber(partition, 'the partition'), nodesOf(nodes), command.optsWithGlobals()),
    )
  reassign
    .command('cancel <topic> <partition>')
    .description('give up a move and go back to where the replicas were')
    .action((topic: string, partition: string, _flags: object, command: Command) =>
      move(topic, wholeNumber(partition, 'the partition'), undefined, command.optsWithGlobals()),
    )
  cluster
    .command('quorum')
    .description('the controllers: who leads them, how far each is')
    .action((_flags: object, command: Command) => quorum(command.optsWithGlobals()))
}

function listLeaders(options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    const [cluster, topics] = await Promise.all([admin.describeCluster(), admin.listTopics()])
    noteIfUnled(cluster)
    await printRows(
      topics.flatMap(({ name, partitions }) =>
        partitions.map(({ partition, leader, leaderEpoch, replicas, isr }) => ({
          topic: name,
          partition,
          leader,
          epoch: leaderEpoch,
          preferred: replicas[0] === leader,
          replicas: replicas.join(','),
          inSync: isr.join(','),
        })),
      ),
      options.output,
    )
  })
}

async function elect({ topic = [], unclean }: ElectFlags, options: GlobalOptions): Promise<void> {
  if (unclean === true) await confirm('let replicas lead that may lack acknowledged records, which are then lost for good', options)
  await withClient(options, async ({ admin }) => {
    const results = await admin.cluster.electLeaders(
      topic.map((name) => ({ topic: name })),
      { unclean: unclean === true },
    )
    await printRows(
      results.map(({ error, ...result }) => ({ ...result, error: error ?? '' })),
      options.output,
    )
    if (results.some(({ error }) => error !== undefined)) process.exitCode = 1
  })
}

function moves(options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    const rows = (await admin.cluster.reassignments()).map(({ topic, partition, replicas, adding, removing, isr }) => ({
      topic,
      partition,
      replicas: replicas.join(','),
      adding: adding.join(','),
      removing: removing.join(','),
      inSync: isr.join(','),
    }))
    await printRows(rows, options.output)
  })
}

function move(topic: string, partition: number, replicas: readonly number[] | undefined, options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    await admin.cluster.reassign(topic, partition, replicas)
    note(
      replicas === undefined
        ? `${topic}-${partition} goes back to where it was`
        : `${topic}-${partition} is moving to ${replicas.join(', ')}`,
    )
  })
}

function quorum(options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    const { leaderId, members } = await admin.cluster.describeQuorum()
    await printRows(
      members.map(({ nodeId, host, port, voter, matchIndex, alive, directoryId }) => ({
        node: nodeId,
        role: nodeId === leaderId ? 'leader' : voter ? 'voter' : 'learner',
        address: `${host}:${port}`,
        alive,
        entries: matchIndex,
        directory: directoryId,
      })),
      options.output,
    )
  })
}

function nodesOf(text: string): number[] {
  const nodes = text.split(',').map((part) => wholeNumber(part.trim(), 'a node'))
  if (new Set(nodes).size !== nodes.length) throw new TidemarkError('USAGE', `${text} names a node twice`)
  return nodes
}
