/** `tidemark dev`: a local node with everything on its defaults, and what to type next. */
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { formatAddress } from '../protocol/addresses.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { wholeNumber } from './arguments.ts'
import { BOOTSTRAP_DEFAULT } from './context.ts'
import { currentAddresses } from './contexts.ts'
import { addNodeOptions, loadFromFlags, type NodeFlags } from './node-options.ts'

/** Of a cluster: a node alone takes it from its settings. */
const DATA_DIR_DEFAULT = './tidemark-data'
const PORT_DEFAULT = 9092

interface DevFlags extends NodeFlags {
  readonly port?: string
  readonly temporary?: boolean
  readonly nodes?: string
}

/** What a laptop runs without trouble; more is for real machines. */
const NODES_MAX = 9

export function addDev(program: Command): void {
  addNodeOptions(program.command('dev').description('run a local node, its data kept in ./tidemark-data'))
    .option('--port <number>', 'the port to listen on; 0 takes any free one')
    .option('--nodes <number>', 'run a cluster of so many nodes, each a process of its own, on this port and those behind it')
    .option('--temporary', 'keep the data in a temporary directory, removed when the node stops')
    .action(dev)
}

async function dev(flags: DevFlags): Promise<void> {
  const start =
    flags.nodes === undefined ? (withData: DevFlags, fate: string) => run({ ...withData, ...listenOf(flags) }, fate) : runCluster
  if (!flags.temporary) return start(flags, 'survives restarts')
  if (flags.dataDir !== undefined) throw new TidemarkError('USAGE', 'either --temporary or --data-dir')
  const dataDir = mkdtempSync(join(tmpdir(), 'tidemark-'))
  try {
    await start({ ...flags, dataDir }, 'is gone when it stops')
  } finally {
    const { removeUnused } = await import('./temporary-data.ts')
    await removeUnused(dataDir)
  }
}

async function run(flags: NodeFlags, fate: string): Promise<void> {
  const [{ runNode }, { isWildcard }] = await Promise.all([import('./run-node.ts'), import('../broker/setting-values.ts')])
  const loaded = await loadFromFlags(flags, { log_level: 'warn' })
  await runNode(loaded, (node) => {
    // Who listens everywhere is reached here, too.
    const host = isWildcard(node.host) ? '127.0.0.1' : node.host
    const address = formatAddress(host, node.port)
    process.stdout.write(welcome([address], `its data is in ${loaded.config.dataDir} and ${fate}`))
  })
}

async function runCluster(flags: DevFlags, fate: string): Promise<void> {
  const count = wholeNumber(flags.nodes ?? '', '--nodes')
  if (count < 1 || count > NODES_MAX) throw new TidemarkError('USAGE', `--nodes is 1 to ${NODES_MAX}, not ${count}`)
  if (flags.listen !== undefined || flags.nodeId !== undefined || flags.advertise !== undefined)
    throw new TidemarkError('USAGE', 'with --nodes, say where with --port')
  const { startDevCluster } = await import('./dev-cluster.ts')
  const dataDir = flags.dataDir ?? DATA_DIR_DEFAULT
  const port = flags.port === undefined ? PORT_DEFAULT : wholeNumber(flags.port, '--port')
  const cluster = await startDevCluster(count, { firstPort: port, dataDir, options: optionsOf(flags), program: commandName() })
  const { addresses, processIds } = cluster
  process.stdout.write(welcome(addresses, `${count} nodes; their data is in ${dataDir} and ${fate}`))
  process.stdout.write(
    `To see one of them fail, kill its process (nodes 1 to ${count}: ${processIds.join(', ')}); how to start it again is said then.\n\n`,
  )
  await cluster.ended
}

/** What each node of a cluster is given as well. */
function optionsOf({ config, insecure, logLevel, logFormat, set = [] }: NodeFlags): string[] {
  const given = Object.entries({ '--config': config, '--log-level': logLevel, '--log-format': logFormat })
  return [
    ...given.flatMap(([name, value]) => (value === undefined ? [] : [name, value])),
    ...(insecure === true ? ['--insecure'] : []),
    ...set.flatMap((setting) => ['--set', setting]),
  ]
}

/** `--port` is short for a `--listen` on this machine. */
function listenOf(flags: DevFlags): { readonly listen?: string } {
  if (flags.port === undefined) return {}
  if (flags.listen !== undefined) throw new TidemarkError('USAGE', 'either --port or --listen')
  return { listen: `127.0.0.1:${wholeNumber(flags.port, '--port')}` }
}

function welcome(addresses: readonly string[], data: string): string {
  const [address = ''] = addresses
  const tidemark = commandName()
  const bootstrap = address === (currentAddresses() ?? BOOTSTRAP_DEFAULT) ? '' : ` --bootstrap ${address}`
  return `
tidemark runs at ${addresses.join(', ')}; ${data}. Ctrl-C stops it.

In a second terminal, in this directory:

  ${tidemark}${bootstrap} topic create hello --partitions 3
  echo 'greeting:hello, world' | ${tidemark}${bootstrap} produce hello --key-separator :
  ${tidemark}${bootstrap} consume hello --offset start -e -f '%k -> %v\\n'

Health: http://${address}/healthz   Metrics: http://${address}/metrics

`
}

/** What a person in this directory types to run this program: the launcher of a clone, or the installed command. */
function commandName(): string {
  const root = dirname(dirname(fileURLToPath(import.meta.url)))
  if (existsSync(join(root, 'scripts/run.mjs'))) {
    const launcher = relative(process.cwd(), join(root, 'tidemark'))
    return launcher.startsWith('.') ? launcher : `./${launcher}`
  }
  return process.env.npm_command === 'exec' ? 'npx tidemark' : 'tidemark'
}
