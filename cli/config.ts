/** `tidemark config …`: the settings of a node, and of topics. */
import { styleText } from 'node:util'
import type { Command } from 'commander'
import type { AllowedType } from '../protocol/allowed-values.ts'
import type { GlobalOptions } from './context.ts'
import { addNodeOptions, loadFromFlags, type NodeFlags } from './node-options.ts'
import { printRows, write } from './output.ts'

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

interface Setting {
  readonly type: AllowedType
  readonly defaultText: string
  readonly text: string
}

type Described = {
  readonly of: 'node' | 'topic'
  readonly key: string
  readonly default: string
  readonly allowed: string
  /** Empty for a topic's. */
  readonly environment: string
  readonly text: string
}

async function describe(options: GlobalOptions): Promise<void> {
  const settings = await allSettings()
  if (options.output === 'table' && process.stdout.isTTY) await write(settings.map((one) => entry(one, process.stdout.columns)).join('\n'))
  else await printRows(settings, options.output)
}

async function allSettings(): Promise<readonly Described[]> {
  const [{ environmentName }, { NODE_SETTINGS }, { TOPIC_SETTINGS }, { allowedValues }] = await Promise.all([
    import('../broker/config.ts'),
    import('../broker/node-settings.ts'),
    import('../protocol/topic-config.ts'),
    import('../protocol/allowed-values.ts'),
  ])
  const described = (of: Described['of'], key: string, { type, defaultText, text }: Setting): Described => {
    const { range, words } = allowedValues(type)
    const allowed = [...(range === undefined ? [] : [range]), ...words].join(', ')
    return { of, key, default: defaultText, allowed, environment: of === 'node' ? environmentName(key) : '', text }
  }
  return [
    ...Object.entries(NODE_SETTINGS).map(([key, setting]) => described('node', key, setting)),
    ...Object.entries(TOPIC_SETTINGS).map(([key, setting]) => described('topic', key, setting)),
  ]
}

/** For people at a terminal: explanations are too long for a table. */
function entry({ of, key, default: defaultText, allowed, environment, text }: Described, width: number): string {
  const facts = [
    `default ${defaultText === '' ? 'empty' : defaultText}`,
    `allowed ${allowed}`,
    ...(environment === '' ? [] : [`environment ${environment}`]),
  ]
  const lines = [...wrap(text, width - 4), ...wrap(facts.join('; '), width - 4)]
  return [styleText('bold', `${of} ${key}`), ...lines.map((line) => `    ${line}`), ''].join('\n')
}

function wrap(text: string, width: number): readonly string[] {
  const lines = ['']
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? ''
    if (last === '') lines[lines.length - 1] = word
    else if (last.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}
