/** `tidemark cluster …` */
import type { Command } from 'commander'
import type { ClusterDescription, Tidemark, TopicDescription } from '../client/index.ts'
import { formatAddress } from '../protocol/addresses.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { durationOf } from './arguments.ts'
import { addNodeVerbs, stateOf } from './cluster-nodes.ts'
import { addPartitionVerbs } from './cluster-partitions.ts'
import { type GlobalOptions, withClient } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { note, printOne, printRows } from './output.ts'
import { noteIfUnled } from './unled.ts'

/** Between two looks while waiting for health. */
const LOOK_EVERY_MS = 200
/** One look takes no longer than this: a node that does not answer by then is not healthy. */
const LOOK_MAX_MS = 3000

export function addCluster(program: Command): void {
  const cluster = program.command('cluster').description('the state of the cluster')
  cluster
    .command('status')
    .description('the nodes of the cluster')
    .action((_flags: object, command: Command) => status(command.optsWithGlobals()))
  cluster
    .command('health')
    .description('whether everything works; ends with 10 when not')
    .option('--wait <duration>', 'wait so long for it')
    .action((flags: { wait?: string }, command: Command) => health(flags.wait, command.optsWithGlobals()))
  addNodeVerbs(cluster)
  addPartitionVerbs(cluster)
}

function status(options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    const cluster = await admin.describeCluster()
    if (options.output !== 'table') {
      await printOne({ ...cluster }, options.output)
      return
    }
    note(`cluster ${cluster.clusterId}`)
    noteIfUnled(cluster)
    await printRows(
      cluster.nodes.map(({ nodeId, host, port, rack, version, roles, ...node }) => ({
        node: nodeId,
        address: `${host}:${port}`,
        state: stateOf(node),
        controller: nodeId === cluster.controllerId ? 'active' : '',
        roles: roles.join(','),
        rack,
        version,
      })),
      'table',
    )
  })
}

async function health(wait: string | undefined, options: GlobalOptions): Promise<void> {
  const deadlineMs = performance.now() + (wait === undefined ? 0 : durationOf(wait, '--wait'))
  for (;;) {
    const reasons = await look(options)
    if (reasons.length === 0 || performance.now() >= deadlineMs) {
      const status = reasons.length === 0 ? 'healthy' : 'unhealthy'
      if (options.output !== 'table') await printOne({ status, reasons }, options.output)
      else await printOne({ status, ...(reasons.length > 0 && { reasons: reasons.join('; ') }) }, 'table')
      if (reasons.length > 0) process.exitCode = EXIT.unhealthy
      return
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
  }
}

/** What is wrong; nothing when healthy. */
async function look(options: GlobalOptions): Promise<string[]> {
  const timeoutMs = Math.min(LOOK_MAX_MS, durationOf(options.timeout, '--timeout'))
  try {
    return await withClient({ ...options, timeout: `${timeoutMs}ms` }, async (tm: Tidemark) => {
      const cluster = await tm.admin.describeCluster()
      return [...clusterReasons(cluster), ...(await tm.admin.listTopics()).flatMap(topicReasons), ...(await nodeReasons(cluster))]
    })
  } catch (error) {
    return [TidemarkError.from(error).message]
  }
}

function clusterReasons(cluster: ClusterDescription): string[] {
  const silent = cluster.nodes.filter((node) => !node.alive).map((node) => `node ${node.nodeId} is silent`)
  return cluster.controllerId < 0 ? ['there is no active controller', ...silent] : silent
}

function topicReasons(topic: TopicDescription): string[] {
  return topic.partitions.flatMap(({ partition, leader, isr, replicas }) => {
    if (leader < 0) return [`${topic.name}-${partition} has no leader`]
    return isr.length < replicas.length ? [`${topic.name}-${partition} has ${isr.length} of ${replicas.length} replicas in sync`] : []
  })
}

/** Each node's own word. */
async function nodeReasons(cluster: ClusterDescription): Promise<string[]> {
  const answers = await Promise.all(
    cluster.nodes.map(async ({ nodeId, host, port }) => {
      const address = formatAddress(host, port)
      try {
        const response = await fetch(`http://${address}/healthz`, { signal: AbortSignal.timeout(LOOK_MAX_MS) })
        const { reasons } = (await response.json()) as { reasons: readonly { readonly code: string; readonly message: string }[] }
        // Said of every partition already.
        const news = reasons.filter(({ code }) => code !== 'UNDER_REPLICATED')
        return news.map(({ code, message }) => `node ${nodeId}: ${message} [${code}]`)
      } catch (error) {
        return [`node ${nodeId} (${address}) does not answer${whyOf(error)}`]
      }
    }),
  )
  return answers.flat()
}

/** In the words of the system, where it has any. */
function whyOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined
  return code === undefined ? ` within ${LOOK_MAX_MS / 1000} s` : ` (${code})`
}
