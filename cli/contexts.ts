/**
 * `tidemark context …`: clusters by name, so that nobody types addresses. Kept in a small file of the user:
 * `tidemark/contexts.json` in $XDG_CONFIG_HOME, ~/.config or %APPDATA%.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { TidemarkError } from '../protocol/errors.ts'
import { nearestName } from '../protocol/topic-config.ts'
import { BOOTSTRAP_DEFAULT, type GlobalOptions, TALKS_TO_NOBODY } from './context.ts'
import { note, printRows } from './output.ts'

interface Contexts {
  /** The one that counts when nothing else is said. */
  readonly current: string | undefined
  /** Name → addresses. */
  readonly clusters: ReadonlyMap<string, string>
}

export function addContexts(program: Command): void {
  const context = program.command('context').description('clusters by name')
  context
    .command('add <name> <addresses>')
    .description('remember the addresses of a cluster; the first one is used from then on')
    .action(add)
  context.command('use <name>').description('talk to this cluster from now on').action(use)
  context
    .command('list')
    .description('the clusters that are remembered')
    .action((_flags: object, command: Command) => list(command.optsWithGlobals()))
  context.command('remove <name>').description('forget a cluster').action(remove)
  program.hook('preAction', (_program, command) => {
    if (!TALKS_TO_NOBODY.has(topLevelName(command))) chooseCluster(program)
  })
}

/** The addresses of the cluster in use; undefined when none is, or when nobody can tell. */
export function currentAddresses(): string | undefined {
  try {
    return addressesInUse(readContexts())
  } catch {
    return undefined
  }
}

/** A flag beats the environment, the environment beats the context in use, which beats the default address. */
function chooseCluster(program: Command): void {
  const source = program.getOptionValueSource('bootstrap')
  const { context } = program.opts<{ readonly context?: string }>()
  const contextSource = program.getOptionValueSource('context')
  if (source === 'cli' && contextSource === 'cli') throw new TidemarkError('USAGE', 'either --bootstrap or --context')
  if (source === 'cli' || (source === 'env' && contextSource !== 'cli')) return
  const addresses = context === undefined ? addressesInUse(readContexts()) : addressesOf(readContexts(), context)
  program.setOptionValueWithSource('bootstrap', addresses ?? BOOTSTRAP_DEFAULT, 'config')
}

function topLevelName(command: Command): string {
  return command.parent === null || command.parent.parent === null ? command.name() : topLevelName(command.parent)
}

function addressesInUse({ current, clusters }: Contexts): string | undefined {
  return current === undefined ? undefined : clusters.get(current)
}

function addressesOf({ clusters }: Contexts, name: string): string {
  const addresses = clusters.get(name)
  if (addresses !== undefined) return addresses
  const nearest = nearestName(name, [...clusters.keys()])
  throw new TidemarkError('USAGE', `no context named ${JSON.stringify(name)}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`)
}

async function add(name: string, addresses: string): Promise<void> {
  const { parseBootstrap } = await import('../client/addresses.ts')
  const { current, clusters } = readContexts()
  writeContexts({ current: current ?? name, clusters: new Map([...clusters, [name, parseBootstrap(addresses).join(',')]]) })
  note(`${name} is ${addresses}${current === undefined ? ' and in use' : ''}`)
}

function use(name: string): void {
  const contexts = readContexts()
  const addresses = addressesOf(contexts, name)
  writeContexts({ ...contexts, current: name })
  note(`${name} (${addresses}) is in use`)
}

async function list(options: GlobalOptions): Promise<void> {
  const { current, clusters } = readContexts()
  await printRows(
    [...clusters].map(([name, bootstrap]) => ({ name, bootstrap, current: name === current ? 'yes' : '' })),
    options.output,
  )
}

function remove(name: string): void {
  const contexts = readContexts()
  addressesOf(contexts, name)
  const clusters = new Map([...contexts.clusters].filter(([other]) => other !== name))
  writeContexts({ current: contexts.current === name ? undefined : contexts.current, clusters })
  note(`${name} is forgotten`)
}

function contextsFile(): string {
  const config = process.platform === 'win32' ? process.env.APPDATA : process.env.XDG_CONFIG_HOME
  return join(config || join(homedir(), '.config'), 'tidemark', 'contexts.json')
}

function readContexts(): Contexts {
  const path = contextsFile()
  try {
    const { current, clusters } = JSON.parse(readFileSync(path, 'utf8')) as { current?: unknown; clusters?: unknown }
    const entries = Object.entries((clusters ?? {}) as object).filter((entry): entry is [string, string] => typeof entry[1] === 'string')
    return { current: typeof current === 'string' ? current : undefined, clusters: new Map(entries) }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { current: undefined, clusters: new Map() }
    throw new TidemarkError('INVALID_CONFIG', `${path} cannot be read: ${(error as Error).message}; mend it or remove it`, { cause: error })
  }
}

/** Never leaves half a file behind. */
function writeContexts({ current, clusters }: Contexts): void {
  const path = contextsFile()
  const fresh = `${path}.${process.pid}`
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(fresh, `${JSON.stringify({ current, clusters: Object.fromEntries(clusters) }, undefined, 2)}\n`, { mode: 0o600 })
  renameSync(fresh, path)
}
