/** Ends of a connection that stop in the middle of what they began, and never go on. */
import { once } from 'node:events'
import net from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startTidemark, type TestTidemark } from '../../testing/index.ts'

let node: TestTidemark

beforeEach(async () => {
  const limits = { handshakeTimeoutMs: 300, keepaliveIntervalMs: 1000, keepaliveTimeoutMs: 1000, idleTimeoutMs: 2000 }
  node = await startTidemark({ config: { limits } })
})

afterEach(() => node.close())

describe('E08 a peer', () => {
  it.each([
    ['that sends one byte', 'P'],
    ['that sends the preface of HTTP/2 and nothing of its own', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['that stops within the preface of HTTP/2', 'PRI * HTTP/2.0\r\n'],
    ['that stops within the headers of HTTP/1', 'GET /healthz HTTP/1.1\r\nHost: x\r\n'],
  ])(
    '%s loses its connection, and others do not notice',
    async (_what, bytes) => {
      const socket = net.connect(node.port, node.host)
      socket.on('error', () => {})
      socket.resume()
      await once(socket, 'connect')
      socket.write(bytes)
      await once(socket, 'close')
      expect((await fetch(`http://${node.address}/readyz`)).ok).toBe(true)
    },
    30_000,
  )
})
