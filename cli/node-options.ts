/** Where a node's settings come from on the command line: flags, the environment and a file. */
import { existsSync, readFileSync } from 'node:fs'
import type { Command } from 'commander'
import type { LoadedConfig } from '../broker/config.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { collect, pairOf } from './arguments.ts'

const FILE_DEFAULT = 'tidemark.yaml'

export interface NodeFlags {
  readonly config?: string
  readonly listen?: string
  readonly advertise?: string
  readonly dataDir?: string
  readonly nodeId?: string
  readonly insecure?: boolean
  readonly logLevel?: string
  readonly logFormat?: string
  readonly set?: readonly string[]
}

export function addNodeOptions(command: Command): Command {
  return command
    .option('--config <file>', `settings, as YAML (default: ./${FILE_DEFAULT} when there is one)`)
    .option('--listen <address>', 'address and port to listen on')
    .option('--advertise <address>', 'address clients are told to dial')
    .option('--data-dir <directory>', 'where everything is stored')
    .option('--node-id <number>', 'the number of this node')
    .option('--insecure', 'allow listening beyond this machine without authentication')
    .option('--log-level <level>', 'debug, info, warn, error or silent')
    .option('--log-format <format>', 'auto, json or pretty')
    .option('--set <key=value>', 'any other setting, see `tidemark config describe`; may be repeated', collect)
}

/** Loads and validates. `defaults` are the command's own, which flags, environment and file all override. */
export async function loadFromFlags(flags: NodeFlags, defaults: Readonly<Record<string, string>> = {}): Promise<LoadedConfig> {
  const { loadNodeConfig } = await import('../broker/config.ts')
  const filePath = flags.config ?? (existsSync(FILE_DEFAULT) ? FILE_DEFAULT : undefined)
  const file = filePath === undefined ? undefined : await readYaml(filePath)
  return loadNodeConfig({
    flags: settingsOf(flags),
    defaults,
    environment: process.env,
    file,
    ...(filePath !== undefined && { filePath }),
  })
}

function settingsOf(flags: NodeFlags): Record<string, string> {
  const named = {
    listen: flags.listen,
    advertise: flags.advertise,
    data_dir: flags.dataDir,
    node_id: flags.nodeId,
    insecure: flags.insecure === undefined ? undefined : String(flags.insecure),
    log_level: flags.logLevel,
    log_format: flags.logFormat,
  }
  const given = Object.entries(named).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return { ...Object.fromEntries((flags.set ?? []).map(pairOf)), ...Object.fromEntries(given) }
}

async function readYaml(path: string): Promise<unknown> {
  const { parse } = await import('yaml')
  try {
    return parse(readFileSync(path, 'utf8'))
  } catch (error) {
    // The parser shows the place over several lines; the first one says it all.
    const [why = ''] = (error instanceof Error ? error.message : String(error)).split('\n')
    throw new TidemarkError('INVALID_CONFIG', `${path} cannot be read: ${why.replace(/:$/, '')}`, { cause: error })
  }
}
