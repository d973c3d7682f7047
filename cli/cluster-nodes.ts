/** `tidemark cluster nodes | drain | undrain | remove-node`: who is in the cluster, and leaving it. */
import type { Command } from 'commander'
import type { NodeInfo, Tidemark } from '../client/index.ts'
import { durationOf, wholeNumber } from './arguments.ts'
import { type GlobalOptions, withClient } from './context.ts'
import { note, printRows } from './output.ts'
import { confirm } from './prompt.ts'
import { noteIfUnled } from './unled.ts'

const LOOK_EVERY_MS = 500

export function addNodeVerbs(cluster: Command): void {
  cluster
    .command('nodes')
    .description('the nodes, and how much each leads and holds')
    .action((_flags: object, command: Command) => nodes(command.optsWithGlobals()))
  cluster
    .command('drain <node>')
    .description('move everything off a node')
    .option('--wait <duration>', 'wait so long until it is empty')
    .action((node: string, flags: { wait?: string }, command: Command) =>
      drain(wholeNumber(node, 'the node'), flags.wait, command.optsWithGlobals()),
    )
  cluster
    .command('undrain <node>')
    .description('let a drained node get replicas again')
    .action((node: string, _flags: object, command: Command) =>
      withClient(command.optsWithGlobals(), ({ admin }) => admin.cluster.undrainNode(wholeNumber(node, 'the node'))),
    )
  cluster
    .command('remove-node <node>')
    .description('forget a node that is stopped and empty')
    .action((node: string, _flags: object, command: Command) => remove(wholeNumber(node, 'the node'), command.optsWithGlobals()))
}

function nodes(options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    const [cluster, topics] = await Promise.all([admin.describeCluster(), admin.listTopics()])
    noteIfUnled(cluster)
    const partitions = topics.flatMap((topic) => topic.partitions)
    await printRows(
      cluster.nodes.map(({ nodeId, host, port, rack, version, ...node }) => {
        const replicas = partitions.filter((partition) => partition.replicas.includes(nodeId)).length
        return {
          node: nodeId,
          address: `${host}:${port}`,
          // For programs; the state says it to people.
          ...(options.output !== 'table' && { alive: node.alive }),
          state: stateOf(node, replicas),
          controller: nodeId === cluster.controllerId,
          leads: partitions.filter(({ leader }) => leader === nodeId).length,
          replicas,
          inSync: partitions.filter(({ isr }) => isr.includes(nodeId)).length,
          rack,
          version,
        }
      }),
      options.output,
    )
  })
}

/** In a word; `replicas`: how many it has, where that is known. */
export function stateOf(
  { alive, shuttingDown, draining }: Pick<NodeInfo, 'alive' | 'shuttingDown' | 'draining'>,
  replicas?: number,
): string {
  if (!alive) return draining ? 'silent, draining' : 'silent'
  if (shuttingDown) return 'stopping'
  if (draining) return replicas === 0 ? 'drained' : 'draining'
  return 'alive'
}

async function drain(nodeId: number, wait: string | undefined, options: GlobalOptions): Promise<void> {
  await confirm(`move everything off node ${nodeId}`, options)
  await withClient(options, async (tm) => {
    await tm.admin.cluster.drainNode(nodeId)
    if (wait === undefined) {
      note(`node ${nodeId} is being emptied; \`tidemark cluster reassign list\` shows what is under way`)
      return
    }
    const deadlineMs = performance.now() + durationOf(wait, '--wait')
    for (;;) {
      const left = await replicasOn(tm, nodeId)
      if (left === 0) {
        note(`node ${nodeId} is empty`)
        return
      }
      note(`${left} replicas are left on node ${nodeId}`)
      if (performance.now() > deadlineMs) {
        process.exitCode = 1
        return
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
    }
  })
}

async function remove(nodeId: number, options: GlobalOptions): Promise<void> {
  await confirm(`forget node ${nodeId}`, options)
  await withClient(options, async ({ admin }) => {
    const [{ nodes }, { members }] = await Promise.all([admin.describeCluster(), admin.cluster.describeQuorum()])
    const isMember = members.some((member) => member.nodeId === nodeId)
    // Refused while the node is alive or holds anything: before its vote is touched. One that was forgotten and still votes loses its vote.
    if (!isMember || nodes.some((node) => node.nodeId === nodeId)) await admin.cluster.removeNode(nodeId)
    if (isMember) await admin.cluster.removeController(nodeId)
    note(`node ${nodeId} is no longer part of the cluster`)
  })
}

async function replicasOn({ admin }: Tidemark, nodeId: number): Promise<number> {
  const topics = await admin.listTopics()
  return topics.flatMap(({ partitions }) => partitions).filter(({ replicas }) => replicas.includes(nodeId)).length
}
