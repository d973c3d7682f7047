/** `tidemark topic …` */
import type { Command } from 'commander'
import { TidemarkError } from '../protocol/errors.ts'
import { collect, pairOf, wholeNumber } from './arguments.ts'
import { type GlobalOptions, withClient } from './context.ts'
import { note, printOne, printRows, type Row } from './output.ts'
import { confirm } from './prompt.ts'

interface AlterFlags {
  readonly config?: readonly string[]
  readonly reset?: readonly string[]
}

interface CreateFlags {
  readonly partitions?: string
  readonly replicas?: string
  readonly config?: readonly string[]
  readonly dryRun?: boolean
}

export function addTopic(program: Command): void {
  const topic = program.command('topic').description('create, look at, change and delete topics')

  topic
    .command('create <name>')
    .description('create a topic')
    .option('-p, --partitions <count>', 'partitions')
    .option('-r, --replicas <count>', 'replicas of each partition')
    .option('-c, --config <key=value>', 'a setting, see `tidemark config describe`; may be repeated', collect)
    .option('--dry-run', 'check everything, create nothing')
    .action((name: string, flags: CreateFlags, command: Command) => create(name, flags, command.optsWithGlobals()))

  topic
    .command('list')
    .description('all topics')
    .action((_flags: object, command: Command) => list(command.optsWithGlobals()))

  topic
    .command('describe <name>')
    .description('partitions, leaders and settings of a topic')
    .action((name: string, _flags: object, command: Command) => describe(name, command.optsWithGlobals()))

  topic
    .command('alter <name>')
    .description('change settings of a topic')
    .option('-c, --config <key=value>', 'a setting to change; may be repeated', collect)
    .option('--reset <key>', 'a setting that goes back to its default; may be repeated', collect)
    .action((name: string, flags: AlterFlags, command: Command) => alter(name, flags, command.optsWithGlobals()))

  topic
    .command('grow <name>')
    .description('add partitions; keys may go to other partitions from then on')
    .requiredOption('-p, --partitions <count>', 'partitions in all')
    .action((name: string, flags: { partitions: string }, command: Command) => grow(name, flags.partitions, command.optsWithGlobals()))

  topic
    .command('delete <names...>')
    .description('delete topics with all their records')
    .action((names: readonly string[], _flags: object, command: Command) => remove(names, command.optsWithGlobals()))
}

function create(name: string, flags: CreateFlags, options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    const made = await admin.createTopic(name, {
      ...(flags.partitions !== undefined && { partitions: wholeNumber(flags.partitions, '--partitions') }),
      ...(flags.replicas !== undefined && { replicas: wholeNumber(flags.replicas, '--replicas') }),
      configs: Object.fromEntries((flags.config ?? []).map(pairOf)),
      validateOnly: flags.dryRun ?? false,
    })
    const { partitions, replicas, topicId } = made
    await printRows([{ topic: name, partitions, replicas, ...(!flags.dryRun && { id: topicId }) }], options.output)
    if (flags.dryRun) note('nothing was created (--dry-run)')
  })
}

function list(options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    const topics = await admin.listTopics()
    await printRows(
      topics.map(({ name, partitions, replicas, configs }) => ({
        topic: name,
        partitions: partitions.length,
        replicas,
        configs: shown(configs, options),
      })),
      options.output,
    )
  })
}

function describe(name: string, options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    const topic = await admin.describeTopic(name)
    if (options.output !== 'table') {
      const { name: topicName, ...rest } = topic
      await printOne({ topic: topicName, ...rest }, options.output)
      return
    }
    const { topicId, partitioner, replicas, configs } = topic
    await printRows([{ topic: name, id: topicId, partitioner, replicas, configs: shown(configs, options) }], 'table')
    process.stdout.write('\n')
    await printRows(
      topic.partitions.map(
        ({ partition, leader, leaderEpoch, replicas: nodes, isr }): Row => ({
          partition,
          leader,
          epoch: leaderEpoch,
          replicas: nodes.join(','),
          isr: isr.join(','),
        }),
      ),
      'table',
    )
  })
}

function alter(name: string, { config = [], reset = [] }: AlterFlags, options: GlobalOptions): Promise<void> {
  if (config.length + reset.length === 0) throw new TidemarkError('USAGE', 'say what to change with --config or --reset')
  return withClient(options, async ({ admin }) => {
    await admin.alterConfigs(name, { set: Object.fromEntries(config.map(pairOf)), reset })
    const entries = await admin.describeConfigs(name)
    await printRows(
      entries.filter((entry) => entry.source === 'topic').map(({ key, value, defaultValue }) => ({ key, value, default: defaultValue })),
      options.output,
    )
  })
}

function grow(name: string, partitions: string, options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    await admin.growTopic(name, wholeNumber(partitions, '--partitions'))
    note(`${name} has ${partitions} partitions`)
  })
}

async function remove(names: readonly string[], options: GlobalOptions): Promise<void> {
  await confirm(`Delete ${names.join(', ')} with all records`, options)
  await withClient(options, async ({ admin }) => {
    for (const name of names) {
      await admin.deleteTopic(name)
      note(`${name} deleted`)
    }
  })
}

/** Settings as text in a table, as an object elsewhere. */
function shown(configs: Readonly<Record<string, string>>, options: GlobalOptions): unknown {
  if (options.output !== 'table') return configs
  return Object.entries(configs)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ')
}
