/** `tidemark config …`: the settings of a node, and of topics. */
import type { Command } from 'commander'
import type { GlobalOptions } from './context.ts'
import { addNodeOptions, loadFromFlags, type NodeFlags } from './node-options.ts'
import { printRows } from './output.ts'

export function addConfig(program: Command): void {
  const config = program.command('config').description('settings: what they are and where they come from')
  addNodeOptions(config.command('print').description('every setting of a node with its value, and where the value comes from')).action(
    (flags: NodeFlags, command: Command) => print(flags, command.optsWithGlobals()),
  )
  config
    .command('describe')
    .description('every setting of nodes and topics, with default and meaning')
    .action((_flags: object, command: Command) => describe(command.optsWithGlobals()))
}

async function print(flags: NodeFlags, options: GlobalOptions): Promise<void> {
  const { entries } = await loadFromFlags(flags)
  await printRows(
    entries.map(({ key, value, source }) => ({ key, value, source })),
    options.output,
  )
}

async function describe(options: GlobalOptions): Promise<void> {
  const [{ environmentName }, { NODE_SETTINGS }, { TOPIC_SETTINGS }] = await Promise.all([
    import('../broker/config.ts'),
    import('../broker/node-settings.ts'),
    import('../protocol/topic-config.ts'),
  ])
  const node = Object.entries(NODE_SETTINGS).map(([key, { type, defaultText, text }]) => ({
    of: 'node',
    key,
    type: type.kind,
    default: defaultText,
    environment: environmentName(key),
    text,
  }))
  const topic = Object.entries(TOPIC_SETTINGS).map(([key, { type, defaultText, text }]) => ({
    of: 'topic',
    key,
    type: type.kind,
    default: defaultText,
    environment: '',
    text,
  }))
  await printRows([...node, ...topic], options.output)
}
