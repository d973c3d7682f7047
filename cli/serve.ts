/** `tidemark serve`: one node. */
import type { Command } from 'commander'
import { addNodeOptions, loadFromFlags, type NodeFlags } from './node-options.ts'

export function addServe(program: Command): void {
  addNodeOptions(program.command('serve').description('run a node')).action(async (flags: NodeFlags) => {
    const { runNode } = await import('./run-node.ts')
    await runNode(await loadFromFlags(flags), () => {})
  })
}
