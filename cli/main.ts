/** The command line: what there is, and how failures are told. Each command loads what it needs when it runs. */
import { Command, CommanderError, Option } from 'commander'
import { ERRORS, TidemarkError } from '../protocol/errors.ts'
import { VERSION } from '../protocol/version.ts'
import { BOOTSTRAP_DEFAULT, TALKS_TO_NOBODY } from './context.ts'
import { EXIT, exitCodeOf } from './exit-codes.ts'
import { OUTPUT_FORMATS } from './output.ts'

type Adding = (program: Command) => void

/** In the order in which help lists them. */
const COMMANDS: Readonly<Record<string, () => Promise<Adding>>> = {
  dev: async () => (await import('./dev.ts')).addDev,
  serve: async () => (await import('./serve.ts')).addServe,
  topic: async () => (await import('./topic.ts')).addTopic,
  produce: async () => (await import('./produce.ts')).addProduce,
  consume: async () => (await import('./consume.ts')).addConsume,
  group: async () => (await import('./group.ts')).addGroup,
  offsets: async () => (await import('./offsets.ts')).addOffsets,
  cluster: async () => (await import('./cluster.ts')).addCluster,
  bench: async () => (await import('./bench.ts')).addBench,
  log: async () => (await import('./log.ts')).addLog,
  config: async () => (await import('./config.ts')).addConfig,
  context: async () => (await import('./contexts.ts')).addContexts,
  completion: async () => (await import('./completion.ts')).addCompletion,
}

/** With every command, or, where it is known that no other is meant, with `only` one: the others are not even loaded. */
export async function createProgram(only?: string): Promise<Command> {
  const program = new Command('tidemark')
    .description('A distributed commit log.')
    .version(VERSION, '-V, --version')
    .addOption(
      new Option('--bootstrap <addresses>', 'nodes to connect to, separated by commas')
        .env('TIDEMARK_BOOTSTRAP')
        .default(BOOTSTRAP_DEFAULT),
    )
    .addOption(new Option('--context <name>', 'the cluster of that name, see `tidemark context`').env('TIDEMARK_CONTEXT'))
    .addOption(new Option('-o, --output <format>', 'how to print data').choices(OUTPUT_FORMATS).default('table'))
    .option('-y, --yes', 'do not ask')
    .option('--timeout <duration>', 'how long a request may take', '30s')
    .option('--debug', 'show stacks of errors')
    .showSuggestionAfterError()
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: (text, write) => write(sentence(usageOf(text))) })
  // `context` chooses the cluster for whoever talks to one.
  const names = Object.keys(COMMANDS).filter(
    (name) => only === undefined || name === only || (name === 'context' && !TALKS_TO_NOBODY.has(only)),
  )
  for (const name of names) (await COMMANDS[name]?.())?.(program)
  program
    .command('version')
    .description('the version of tidemark')
    .action(() => console.log(VERSION))
  return program
}

export async function main(argv: readonly string[]): Promise<void> {
  quietBrokenPipe()
  // A defect of ours, too, is told in one sentence; there is nothing left to go on with.
  process.on('uncaughtException', (error) => process.exit(tell(error, argv.includes('--debug'))))
  try {
    const program = await createProgram(commandOf(argv))
    await program.parseAsync([...argv])
  } catch (error) {
    process.exitCode = tell(error, argv.includes('--debug'))
  }
}

/** The command that is meant, if it stands first; options before it are for commander to understand. */
function commandOf(argv: readonly string[]): string | undefined {
  const first = argv[2] ?? ''
  return Object.hasOwn(COMMANDS, first) ? first : undefined
}

/** Prints a failure in one sentence; returns the exit code. */
function tell(caught: unknown, withStack: boolean): number {
  if (caught instanceof CommanderError) return caught.exitCode === 0 ? EXIT.ok : EXIT.usage
  const error = TidemarkError.from(caught)
  if (withStack && caught instanceof Error) process.stderr.write(`${caught.stack}\n`)
  if (error.code === 'CANCELLED') return EXIT.interrupted
  process.stderr.write(sentence(error))
  return exitCodeOf(error.code)
}

function sentence({ code, message }: TidemarkError): string {
  const help = code === 'USAGE' ? '`--help` shows what there is.' : ERRORS[code].help
  return `error: ${message.replace(/[.\s]+$/, '')} [${code}]. ${help}\n`
}

/** What commander says of words it cannot make sense of: `error: unknown option '--x'`, on a second line `(Did you mean --y?)`. */
function usageOf(text: string): TidemarkError {
  const [problem = '', guess] = text
    .replace(/^error: /, '')
    .trim()
    .split('\n')
  const didYouMean = guess === undefined ? '' : `; ${guess.replace(/^\(Did/, 'did').replace(/\)$/, '')}`
  return new TidemarkError('USAGE', `${problem}${didYouMean}`)
}

/** `tidemark consume … | head` is no failure. */
function quietBrokenPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok)
    process.exit(tell(error, false))
  })
}
