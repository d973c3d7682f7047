/** `tidemark dev`: a local node with everything on its defaults, and what to type next. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { RunningNode } from '../broker/server.ts'
import { BOOTSTRAP_DEFAULT } from './context.ts'
import { addNodeOptions, loadFromFlags, type NodeFlags } from './node-options.ts'

export function addDev(program: Command): void {
  addNodeOptions(program.command('dev').description('run a local node, its data kept in ./tidemark-data')).action(
    async (flags: NodeFlags) => {
      const { runNode } = await import('./run-node.ts')
      const loaded = await loadFromFlags(flags, { log_level: 'warn' })
      await runNode(loaded, (node) => {
        process.stdout.write(welcome(node, loaded.config.dataDir))
      })
    },
  )
}

function welcome(node: RunningNode, dataDir: string): string {
  const address = `${node.host}:${node.port}`
  const tidemark = commandName()
  const bootstrap = address === BOOTSTRAP_DEFAULT ? '' : ` --bootstrap ${address}`
  return `
tidemark runs at ${address}; its data is in ${dataDir} and survives restarts. Ctrl-C stops it.

In a second terminal, in this directory:

  ${tidemark}${bootstrap} topic create hello --partitions 3
  echo 'greeting:hello, world' | ${tidemark}${bootstrap} produce hello --key-separator :
  ${tidemark}${bootstrap} consume hello --offset start -e -f '%k -> %v\\n'

Health: http://${address}/healthz   Metrics: http://${address}/metrics

`
}

/** What a person here types to run this program: the launcher of a clone, or the installed command. */
function commandName(): string {
  return existsSync(join(process.cwd(), 'tidemark')) && existsSync(join(process.cwd(), 'scripts/run.mjs')) ? './tidemark' : 'tidemark'
}
