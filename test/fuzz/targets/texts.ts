/** What people write: settings of nodes and topics, the file of a node, arguments of commands, addresses. */
import { existsSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Command, CommanderError } from 'commander'
import { loadNodeConfig } from '../../../broker/config.ts'
import { NODE_SETTINGS } from '../../../broker/node-settings.ts'
import { pairOf, wholeNumber } from '../../../cli/arguments.ts'
import { parseConsumeFormat } from '../../../cli/consume-format.ts'
import { parseOffsetRange } from '../../../cli/consume-offset.ts'
import { parseTarget, selectionOf } from '../../../cli/group-reset.ts'
import { createProgram } from '../../../cli/main.ts'
import { loadFromFlags } from '../../../cli/node-options.ts'
import { parseBootstrap } from '../../../client/addresses.ts'
import { decodeErrorDetail } from '../../../protocol/error-wire.ts'
import { validateGroupId, validateTopicName } from '../../../protocol/names.ts'
import { parseTopicConfig, TOPIC_SETTINGS } from '../../../protocol/topic-config.ts'
import { parseDuration, parseSize } from '../../../protocol/units.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import { sampleMessages } from '../messages.ts'
import { isTypedError, must, type Target } from '../target.ts'

const NOW = 1_800_000_000_000
const texts = (...all: readonly string[]): Buffer[] => all.map((one) => Buffer.from(one))

/** Tries every parser, and hands on what one of them threw that is not of ours. */
function each(parsers: readonly (() => unknown)[]): void {
  let refused: TidemarkError | undefined
  for (const parse of parsers) {
    try {
      parse()
    } catch (error) {
      if (!TidemarkError.is(error)) throw error
      refused = error
    }
  }
  if (refused !== undefined) throw refused
}

function nodeConfigOf(text: string): void {
  const flags: Record<string, string> = {}
  for (const line of text.split('\n')) {
    const at = line.indexOf('=')
    if (at > 0) flags[line.slice(0, at)] = line.slice(at + 1)
  }
  loadNodeConfig({ flags })
}

/** The commands of `tidemark`, each of which stops where it would begin to do something. */
class Commands {
  #program: Command | undefined

  async open(): Promise<void> {
    this.#program = await createProgram()
    this.#quiet(this.#program)
  }

  #quiet(command: Command): void {
    command.configureOutput({ writeOut: () => {}, writeErr: () => {}, outputError: () => {} })
    if (command.commands.length === 0) command.action(() => {})
    for (const one of command.commands) this.#quiet(one)
  }

  async run(words: readonly string[]): Promise<void> {
    await this.#program?.parseAsync([...words], { from: 'user' })
  }
}

const commands = new Commands()
let directory = ''

export const textTargets: readonly Target[] = [
  {
    name: 'node-config',
    what: 'settings of a node as flags, `key=value` a line (loadNodeConfig)',
    seeds: () => [
      ...Object.entries(NODE_SETTINGS).map(([key, { defaultText }]) => Buffer.from(`${key}=${defaultText}`)),
      ...texts('voters=1@10.0.0.1:9092,2@[::1]:9092\nnode_id=1\nadvertise=h:1', 'roles=broker, controller\njoin=a:1,b:2'),
    ],
    // Every setting is parsed each time, and a wrong name is compared with each.
    outputBytesMax: 8 * 1024,
    weight: 0.1,
    run: (input) => nodeConfigOf(input.toString('utf8')),
  },
  {
    name: 'config-file',
    what: 'the file of a node, read from its path (loadFromFlags)',
    async open() {
      // In memory where there is such a place: most of the time went into a file that is written to be read once.
      directory = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tidemark-fuzz-'))
      // The parser warns of tags it does not know.
      process.removeAllListeners('warning')
    },
    close: () => rm(directory, { recursive: true }),
    seeds: () =>
      texts(
        'listen: 127.0.0.1:9092\nlimits:\n  fetch_bytes: 1MiB\n',
        'roles: [broker, controller]\n',
        '{"node_id": 3}',
        '&a [*a]',
        '!!binary x',
        '- - - -',
        'a: &x\n  b: *x\n',
      ),
    // The tree that the parser makes of the text, with the place of each word.
    heapPerByte: 8192,
    weight: 0.01,
    async run(input) {
      const path = join(directory, 'tidemark.yaml')
      writeFileSync(path, input)
      await loadFromFlags({ config: path })
    },
  },
  {
    name: 'topic-config',
    what: 'a setting of a topic, `key=value` (parseTopicConfig)',
    seeds: () => Object.entries(TOPIC_SETTINGS).map(([key, { defaultText }]) => Buffer.from(`${key}=${defaultText}`)),
    outputBytesMax: 4 * 1024,
    weight: 0.5,
    run(input) {
      const [key = '', value = ''] = input.toString('utf8').split('=', 2)
      parseTopicConfig({ [key]: value })
    },
  },
  {
    name: 'small-texts',
    what: 'durations, sizes, names, addresses, offsets and formats of the command line (each parser that takes a text)',
    seeds: () =>
      texts(
        '30s',
        '1.5GiB',
        'orders',
        'tidemark://host:9092,[::1]',
        '5:+10',
        '@2026-11-20T10:00:00Z:end',
        '-1h',
        '%t %p %o\\n',
        'orders:0=5,a:1=2',
        'orders:0,2',
        '+5',
        'k=v',
      ),
    weight: 0.5,
    run(input) {
      const text = input.toString('utf8')
      each([
        () => must(Number.isFinite(parseDuration(text, 'x')) || /infin|unlimited/i.test(text), 'a duration is a number'),
        () => must(Number.isFinite(parseSize(text, 'x')) || /infin|unlimited/i.test(text), 'a size is a number'),
        () => validateTopicName(text),
        () => validateGroupId(text),
        () => parseBootstrap(text),
        () => parseOffsetRange(text, NOW),
        () => parseTarget(text, NOW),
        () => selectionOf(text),
        () => parseConsumeFormat(text),
        () => pairOf(text),
        () => must(Number.isSafeInteger(wholeNumber(text, 'x')), 'a whole number'),
      ])
    },
  },
  {
    name: 'cli-arguments',
    what: 'the words of a command, divided by spaces, up to where it would begin (createProgram, commander)',
    open: () => commands.open(),
    seeds: () =>
      texts(
        'topic create orders --partitions 3 --set retention.ms=1',
        'consume orders --offset 5:10 -f %v',
        'group reset g --to @-1h --dry-run',
        'dev --set a=b',
        'produce orders -o json -y',
        '--help',
        'log verify /x',
      ),
    isTyped: (error) => isTypedError(error) || error instanceof CommanderError,
    // A help text is made of all there is, whatever was asked.
    outputBytesMax: 64 * 1024,
    weight: 0.02,
    run: (input) => commands.run(input.toString('utf8').split(' ')),
  },
  {
    name: 'error-detail',
    what: 'the error in the trailer of a failed call (decodeErrorDetail)',
    seeds: (seed) => sampleMessages('tidemark.v1.ErrorDetail', seed, 50),
    run(input) {
      const error = decodeErrorDetail(input)
      must(error === undefined || TidemarkError.is(error), 'an error of ours, or nothing')
    },
  },
]
