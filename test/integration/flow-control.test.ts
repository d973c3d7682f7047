import { once } from 'node:events'
import http2 from 'node:http2'
import { expect, it } from 'vitest'
import { startTidemark } from '../../testing/index.ts'

const WINDOW_BYTES = 8 * 1024 * 1024

it('a node gives senders the credit that is configured, per stream and per connection', async () => {
  await using node = await startTidemark()
  const session = http2.connect(`http://${node.address}`)
  await once(session, 'remoteSettings')
  expect(session.remoteSettings.initialWindowSize).toBe(WINDOW_BYTES)
  await new Promise<void>((resolve) => session.ping(() => resolve()))
  expect(session.state.remoteWindowSize).toBeGreaterThan(WINDOW_BYTES / 2)
  session.destroy()
})
