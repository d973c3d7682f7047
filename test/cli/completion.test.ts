import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { completionScript, suggest } from '../../cli/completion.ts'
import type { GlobalOptions } from '../../cli/context.ts'
import { createProgram } from '../../cli/main.ts'

const options: GlobalOptions = { bootstrap: '127.0.0.1:1', output: 'table', yes: false, debug: false, timeout: '1s' }
const after = async (...words: string[]) => suggest(await createProgram(), words, options)

describe('a completion script', () => {
  it.for(['bash', 'zsh', 'fish'] as const)('of %s is understood by that shell', (shell, { skip }) => {
    const checked = spawnSync(shell, ['-n'], { input: completionScript(shell), encoding: 'utf8' })
    if (checked.error !== undefined) skip(`there is no ${shell} here`)
    expect(checked).toMatchObject({ status: 0, stderr: '' })
  })

  it('of bash offers what the command says, by what was typed', () => {
    const script = [
      'tidemark() { [ "$1 $2 $3" = "complete -- topic" ] && printf "create\\ndelete\\ndescribe\\n"; }',
      completionScript('bash'),
      'COMP_WORDS=(tidemark topic de)',
      'COMP_CWORD=2',
      '_tidemark',
      'echo "${COMPREPLY[@]}"',
    ].join('\n')
    expect(spawnSync('bash', [], { input: script, encoding: 'utf8' })).toMatchObject({ stdout: 'delete describe\n', stderr: '' })
  })
})

describe('suggestions', () => {
  it('are the commands, then those of the noun', async () => {
    expect(await after()).toEqual(expect.arrayContaining(['topic', 'produce', 'consume', '--bootstrap']))
    expect(await after('topic')).toEqual(expect.arrayContaining(['create', 'list', 'describe']))
    expect(await after()).not.toContain('complete')
  })

  it('find the command behind options and their values', async () => {
    expect(await after('--bootstrap', 'produce', '-y', 'topic')).toContain('create')
    expect(await after('topic', '--timeout', '5s')).toContain('create')
  })

  it('are the values of an option that takes some', async () => {
    expect(await after('topic', 'list', '-o')).toEqual(['table', 'json', 'jsonl', 'yaml'])
    expect(await after('produce', '--acks')).toEqual(['all', 'leader', 'none'])
    expect(await after('produce', '--file')).toEqual([])
  })

  it('are shells for completion', async () => {
    expect(await after('completion')).toEqual(expect.arrayContaining(['bash', 'zsh', 'fish']))
  })

  it('are no topics, and no error, when no node answers', async () => {
    expect(await after('consume')).toContain('--offset')
  })
})
