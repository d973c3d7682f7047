/** Bytes through a socket as fast as Node moves them. Run by itself it is the process at the other end: `tcp-peer.ts up|down <bytes>`. */
import { once } from 'node:events'
import net from 'node:net'

const PIECE = Buffer.alloc(256 * 1024, 7)

/** Resolves when the other side says that it has them all. */
export async function sendBytes(socket: net.Socket, totalBytes: number): Promise<void> {
  const isThere = once(socket, 'data')
  for (let sent = 0; sent < totalBytes; sent += PIECE.length) if (!socket.write(PIECE)) await once(socket, 'drain')
  await isThere
}

/** Resolves when all are here, and tells the other side. */
export async function receiveBytes(socket: net.Socket, totalBytes: number): Promise<void> {
  const isThere = Promise.withResolvers<void>()
  let bytes = 0
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes >= totalBytes) isThere.resolve()
  })
  await isThere.promise
  socket.write('.')
}

if (process.send !== undefined && import.meta.main) {
  const [direction, total] = process.argv.slice(2)
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    const work = direction === 'up' ? receiveBytes(socket, Number(total)) : sendBytes(socket, Number(total))
    work.catch(() => socket.destroy())
  })
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as net.AddressInfo).port))
}
