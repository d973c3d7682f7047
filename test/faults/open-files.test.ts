/** A node that may open few files, as a process of its own. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { connect } from '../../client/index.ts'
import { freePort } from '../../scripts/node-process.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const FILES = 120

async function untilReady(address: string): Promise<void> {
  await expect
    .poll(
      () =>
        fetch(`http://${address}/readyz`).then(
          ({ ok }) => ok,
          () => false,
        ),
      { timeout: 30_000 },
    )
    .toBe(true)
}

it('E03 a node out of file descriptors keeps the connections it has, and takes new ones when there are some again', async (context) => {
  if (process.platform === 'win32') return context.skip('needs a shell with ulimit')
  const dataDir = await mkdtemp(join(tmpdir(), 'tidemark-files-'))
  const address = `127.0.0.1:${await freePort()}`
  const command = `ulimit -n ${FILES} && exec "$0" "$@"`
  const words = [join(root, 'cli/tidemark.mjs'), 'serve', '--listen', address, '--data-dir', dataDir, '--set', 'limits.open_files=16']
  const child = spawn('sh', ['-c', command, process.execPath, ...words], { stdio: 'ignore' })
  const sockets: net.Socket[] = []
  try {
    await untilReady(address)
    const tm = await connect(address)
    await tm.admin.createTopic('t', { partitions: 1 })
    await tm.producer().send('t', { value: 'before' })
    const [host = '', port = ''] = address.split(':')
    for (let i = 0; i < 2 * FILES; i++) sockets.push(net.connect(Number(port), host).on('error', () => {}))
    for (let i = 0; i < 20; i++) await tm.producer().send('t', { value: `during ${i}` })
    for (const socket of sockets) socket.destroy()
    await untilReady(address)
    const messages = await Array.fromAsync(tm.consumer('t', { start: 'earliest', end: 'now' }))
    expect(messages).toHaveLength(21)
    expect(child.exitCode).toBeNull()
    await tm.close()
    Object.assign(context.task.meta, { figures: `${FILES} descriptors, ${2 * FILES} connections` })
  } finally {
    for (const socket of sockets) socket.destroy()
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
    await rm(dataDir, { recursive: true })
  }
})
