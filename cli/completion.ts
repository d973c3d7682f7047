/** `tidemark completion …`: scripts for shells. Commands and options come from the program itself, names of topics and groups from the cluster. */
import type { Command, Option } from 'commander'
import type { Tidemark } from '../client/index.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { type GlobalOptions, withClient } from './context.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const

/** Commands whose argument is a group. */
const TAKES_GROUP = new Set(['group describe', 'group lag', 'group reset', 'group delete'])

/** Commands whose argument is a topic. */
const TAKES_TOPIC = new Set([
  'produce',
  'consume',
  'offsets',
  'topic describe',
  'topic alter',
  'topic grow',
  'topic delete',
  'cluster reassign move',
  'cluster reassign cancel',
])

export function addCompletion(program: Command): void {
  program
    .command('completion <shell>')
    .description(`the completion script of a shell: ${SHELLS.join(', ')}`)
    .action((shell: string) => {
      process.stdout.write(completionScript(shell))
    })
  // What the scripts call: the words typed so far in, one suggestion a line out.
  program
    .command('complete [words...]', { hidden: true })
    .allowUnknownOption()
    .action(async (words: readonly string[], _flags: object, command: Command) => {
      const suggestions = await suggest(program, words, command.optsWithGlobals())
      process.stdout.write(suggestions.map((word) => `${word}\n`).join(''))
    })
}

export function completionScript(shell: string): string {
  switch (shell) {
    case 'bash':
      return [
        '_tidemark() {',
        "  local IFS=$'\\n'",
        '  COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))',
        '}',
        'complete -F _tidemark tidemark',
        '',
      ].join('\n')
    case 'zsh':
      return [
        '#compdef tidemark',
        '_tidemark() {',
        '  local -a found',
        '  found=("${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT-1]}" 2>/dev/null)}")',
        '  compadd -a found',
        '}',
        'compdef _tidemark tidemark',
        '',
      ].join('\n')
    case 'fish':
      return [
        'function __tidemark_complete',
        '  set -l words (commandline -opc)',
        '  $words[1] complete -- $words[2..] 2>/dev/null',
        'end',
        "complete -c tidemark -f -a '(__tidemark_complete)'",
        '',
      ].join('\n')
    default:
      throw new TidemarkError('USAGE', `unknown shell ${JSON.stringify(shell)}, there is ${SHELLS.join(', ')}`)
  }
}

/** What may come after `words`: values of the option that stands last, or commands, topics and options. */
export async function suggest(program: Command, words: readonly string[], options: GlobalOptions): Promise<string[]> {
  let command = program
  const path: string[] = []
  const optionOf = (word: string): Option | undefined =>
    [...command.options, ...program.options].find((option) => option.long === word || option.short === word)
  let waiting: Option | undefined
  let bootstrap = options.bootstrap
  for (const word of words) {
    if (waiting !== undefined) {
      if (waiting.long === '--bootstrap') bootstrap = word
      waiting = undefined
    } else if (word.startsWith('-')) {
      const option = optionOf(word)
      if (option?.required) waiting = option
    } else {
      const next = command.commands.find((child) => child.name() === word)
      if (next === undefined) continue
      command = next
      path.push(word)
    }
  }
  const cluster = { ...options, bootstrap }
  if (waiting?.long === '--group') return groupNames(cluster)
  if (waiting?.long === '--topic') return topicNames(cluster)
  if (waiting !== undefined) return [...(waiting.argChoices ?? [])]
  const names = command.commands.filter((child) => child.name() !== 'complete').map((child) => child.name())
  const flags = [...command.options, ...program.options].map((option) => option.long).filter((long) => typeof long === 'string')
  const topics = TAKES_TOPIC.has(path.join(' ')) ? await topicNames(cluster) : []
  const groups = TAKES_GROUP.has(path.join(' ')) ? await groupNames(cluster) : []
  const shells = path.join(' ') === 'completion' ? SHELLS : []
  return [...names, ...topics, ...groups, ...shells, ...new Set(flags)]
}

function topicNames(options: GlobalOptions): Promise<string[]> {
  return namesOf(options, async ({ admin }) => (await admin.listTopics()).map((topic) => topic.name))
}

function groupNames(options: GlobalOptions): Promise<string[]> {
  return namesOf(options, async ({ admin }) => (await admin.groups.list()).map(({ group }) => group))
}

/** Quietly none when no node answers: completion must not get in the way. */
async function namesOf(options: GlobalOptions, list: (tm: Tidemark) => Promise<string[]>): Promise<string[]> {
  try {
    return await withClient({ ...options, timeout: '1s' }, list)
  } catch {
    return []
  }
}
