import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { connect } from '../../client/index.ts'
import { finished, startCli, untilPrinted } from './support.ts'

const PROGRAM = fileURLToPath(new URL('../../cli/tidemark.mjs', import.meta.url))

it('dev --nodes 3 runs a cluster, says where it is and stops all of it on Ctrl-C', async () => {
  const child = spawn(process.execPath, [PROGRAM, 'dev', '--nodes', '3', '--port', '0', '--temporary'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = once(child, 'exit')
  try {
    let addresses: string[] = []
    for await (const line of createInterface({ input: child.stdout })) {
      const match = /^tidemark runs at (.*);/.exec(line)
      if (match === null) continue
      addresses = (match[1] ?? '').split(';')[0]?.split(', ') ?? []
      break
    }
    expect(addresses).toHaveLength(3)
    const tm = await connect(addresses)
    await tm.admin.createTopic('hello', { partitions: 3 })
    expect((await tm.admin.describeTopic('hello')).replicas).toBe(3)
    await tm.close()
    child.stdout.resume()
    child.kill('SIGINT')
    expect(await ended).toEqual([0, null])
    await expect(fetch(`http://${addresses[0]}/livez`)).rejects.toThrow()
  } finally {
    child.kill('SIGKILL')
  }
})

it('dev --nodes refuses a number that is none', async () => {
  const child = spawn(process.execPath, [PROGRAM, 'dev', '--nodes', '99'], { stdio: ['ignore', 'ignore', 'pipe'] })
  let text = ''
  child.stderr.on('data', (chunk: Buffer) => {
    text += String(chunk)
  })
  expect(await once(child, 'exit')).toEqual([2, null])
  expect(text).toContain('--nodes is 1 to 9, not 99')
})

it('dev --nodes says which process each node is, how to start one that ended again, and leaves that one its temporary directory', async () => {
  const child = startCli(['dev', '--nodes', '3', '--port', '0', '--temporary', '--set', 'auto_create_topics=false'])
  const ended = once(child, 'exit')
  const welcome = await untilPrinted(child, /said then\./)
  const [, second = ''] = /nodes 1 to 3: \d+, (\d+), \d+/.exec(welcome) ?? []
  const said = untilPrinted(child, /terminal of its own:\n\n.*\n/)
  process.kill(Number(second), 'SIGKILL')
  const [, command = ''] = / {2}\S+ (serve --node-id 2 .*)\n/.exec(await said) ?? []
  expect(command).toContain('--set auto_create_topics=false --set voters=1@127.0.0.1:')
  const again = startCli(command.split(' '))
  try {
    await untilPrinted(again, /node\.started/)
    const left = untilPrinted(child, /A node still runs on .*/)
    child.kill('SIGINT')
    const [, directory = ''] = /A node still runs on (.*): that stays/.exec(await left) ?? []
    await ended
    const stopped = finished(again)
    again.kill('SIGTERM')
    const { code, stderr } = await stopped
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
    expect(existsSync(join(directory, 'clean-shutdown'))).toBe(true)
    await rm(dirname(directory), { recursive: true })
  } finally {
    again.kill('SIGKILL')
    child.kill('SIGINT')
    await ended
  }
})
