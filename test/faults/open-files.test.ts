/** A node that may open few files, as a process of its own. */
import { join } from 'node:path'
import net from 'node:net'
import { expect, it } from 'vitest'
import { showFigures, usePlace, valuesIn } from './support.ts'

const FILES = 120

const place = usePlace()

it('E03 a node out of file descriptors keeps the connections it has, and takes new ones when there are some again', async (context) => {
  if (process.platform === 'win32') return context.skip('needs a shell with ulimit')
  const node = await place.node(join(await place.directory(), 'data'), ['--set', 'limits.open_files=16'])
  node.wrapper = ['sh', '-c', `ulimit -n ${FILES} && exec "$0" "$@"`]
  await node.start()
  const tm = await place.connect(node.address)
  await tm.admin.createTopic('t', { partitions: 1 })
  await tm.producer().send('t', { value: 'before' })
  const sockets = Array.from({ length: 2 * FILES }, () => net.connect(node.port, '127.0.0.1').on('error', () => {}))
  place.after(() => sockets.forEach((socket) => socket.destroy()))
  for (let i = 0; i < 20; i++) await tm.producer().send('t', { value: `during ${i}` })
  for (const socket of sockets) socket.destroy()
  await node.untilReady()
  expect(await valuesIn(tm, 't')).toHaveLength(21)
  expect(node.isRunning).toBe(true)
  showFigures(context, `${FILES} descriptors, ${2 * FILES} connections`)
})
