/** `tidemark dev`: a local node with everything on its defaults, and what to type next. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import type { RunningNode } from '../broker/server.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { wholeNumber } from './arguments.ts'
import { BOOTSTRAP_DEFAULT } from './context.ts'
import { currentAddresses } from './contexts.ts'
import { addNodeOptions, loadFromFlags, type NodeFlags } from './node-options.ts'

interface DevFlags extends NodeFlags {
  readonly port?: string
  readonly temporary?: boolean
}

export function addDev(program: Command): void {
  addNodeOptions(program.command('dev').description('run a local node, its data kept in ./tidemark-data'))
    .option('--port <number>', 'the port to listen on; 0 takes any free one')
    .option('--temporary', 'keep the data in a temporary directory, removed when the node stops')
    .action(dev)
}

async function dev(flags: DevFlags): Promise<void> {
  const listen = listenOf(flags)
  if (!flags.temporary) return run({ ...flags, ...listen }, 'survives restarts')
  if (flags.dataDir !== undefined) throw new TidemarkError('USAGE', 'either --temporary or --data-dir')
  const dataDir = mkdtempSync(join(tmpdir(), 'tidemark-'))
  try {
    await run({ ...flags, ...listen, dataDir }, 'is gone when it stops')
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
}

async function run(flags: NodeFlags, fate: string): Promise<void> {
  const { runNode } = await import('./run-node.ts')
  const loaded = await loadFromFlags(flags, { log_level: 'warn' })
  await runNode(loaded, (node) => {
    process.stdout.write(welcome(node, `its data is in ${loaded.config.dataDir} and ${fate}`))
  })
}

/** `--port` is short for a `--listen` on this machine. */
function listenOf(flags: DevFlags): { readonly listen?: string } {
  if (flags.port === undefined) return {}
  if (flags.listen !== undefined) throw new TidemarkError('USAGE', 'either --port or --listen')
  return { listen: `127.0.0.1:${wholeNumber(flags.port, '--port')}` }
}

function welcome(node: RunningNode, data: string): string {
  const address = node.host.includes(':') ? `[${node.host}]:${node.port}` : `${node.host}:${node.port}`
  const tidemark = commandName()
  const bootstrap = address === (currentAddresses() ?? BOOTSTRAP_DEFAULT) ? '' : ` --bootstrap ${address}`
  return `
tidemark runs at ${address}; ${data}. Ctrl-C stops it.

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
