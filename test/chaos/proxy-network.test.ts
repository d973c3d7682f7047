/** The network of a chaos run without being root: a gate, a node behind it, and what may happen between them. */
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { ProxyNetwork } from '../../scripts/chaos/proxy-network.ts'

let echo: net.Server
let network: ProxyNetwork
let gate: string

beforeEach(async () => {
  echo = net.createServer((socket) => socket.on('error', () => {}).pipe(socket))
  echo.listen(0, '127.0.0.1')
  await once(echo, 'listening')
  const { port } = echo.address() as net.AddressInfo
  network = new ProxyNetwork()
  network.listens('node-1', port)
  gate = await gateOf('client')
})

afterEach(async () => {
  await network.close()
  echo.close()
})

async function gateOf(name: string): Promise<string> {
  const { environment } = await network.place(name)
  return environment['grpc_proxy'] ?? ''
}

async function dial(): Promise<net.Socket> {
  const { port } = echo.address() as net.AddressInfo
  const request = http.request({ host: '127.0.0.1', port: new URL(gate).port, method: 'CONNECT', path: `127.0.0.1:${port}` }).end()
  const [, socket] = (await once(request, 'connect')) as [unknown, net.Socket]
  return socket.on('error', () => {})
}

/** Not `once`, which rejects when an error comes first. */
function closed(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => socket.on('close', () => resolve()))
}

async function echoed(socket: net.Socket, text: string): Promise<string> {
  socket.write(text)
  const [chunk] = (await once(socket, 'data')) as [Buffer]
  return String(chunk)
}

it('lets through what nobody hinders, and counts who dialled whom', async () => {
  const socket = await dial()
  expect(await echoed(socket, 'hello')).toBe('hello')
  expect([...network.connections]).toEqual([['client > node-1', 1]])
  socket.destroy()
})

it('holds what is cut, each direction for itself, and brings it when it is healed', async () => {
  for (const [from, to] of [
    ['client', 'node-1'],
    ['node-1', 'client'],
  ] as const) {
    const socket = await dial()
    network.cut([from], [to])
    let answer = ''
    socket.on('data', (chunk: Buffer) => (answer += String(chunk)))
    socket.write('late')
    // Another connection that is not cut comes and goes meanwhile.
    await new Promise((resolve) => setImmediate(resolve))
    expect(await gateOf('other')).not.toBe(gate)
    expect(answer).toBe('')
    network.heal()
    await once(socket, 'data')
    expect(answer).toBe('late')
    socket.destroy()
  }
})

it('does not let a new connection through a cut before it is healed', async () => {
  network.cut(['node-1'], ['client'])
  let isThere = false
  const dialled = dial().then((socket) => {
    isThere = true
    return socket
  })
  await gateOf('other')
  expect(isThere).toBe(false)
  network.heal()
  expect(await echoed(await dialled, 'now')).toBe('now')
})

it('resets connections, and cuts one after so many bytes', async () => {
  const first = await dial()
  const reset = closed(first)
  expect(network.each('reset', () => true)).toBe(1)
  await reset
  const second = await dial()
  expect(network.each({ cutAfterBytes: 4 }, () => true)).toBe(1)
  const cut = closed(second)
  second.write('more than four bytes')
  await cut
})

it('leaves a connection half open: whoever dialled is not told that the other end is gone', async () => {
  const socket = await dial()
  let isClosed = false
  socket.on('close', () => (isClosed = true))
  network.each('half-open', () => true)
  socket.write('to nobody')
  const another = await dial()
  expect(await echoed(another, 'still there')).toBe('still there')
  expect(isClosed).toBe(false)
  socket.destroy()
  another.destroy()
})
