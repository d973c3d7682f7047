/** The limits our numbers are held against: what the disk, TCP and grpc-js do on this machine, in this run, with nothing of ours in the way. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import * as grpc from '@grpc/grpc-js'
import { inDirectory, MIB, medianOf, timed } from './harness.ts'
import { receiveBytes, sendBytes } from './tcp-peer.ts'

/** Megabytes a second of writing `totalBytes` in pieces, each followed by a sync (`isSynced`), one after the other. */
export function diskWriteMbs(pieceBytes: number, totalBytes: number, isSynced: boolean): Promise<number> {
  return inDirectory(async (directory) => {
    const handle = await open(join(directory, 'baseline'), 'w')
    const piece = Buffer.alloc(pieceBytes, 7)
    const elapsedMs = await timed(async () => {
      for (let written = 0; written < totalBytes; written += pieceBytes) {
        await handle.write(piece)
        if (isSynced) await handle.datasync()
      }
    })
    await handle.close()
    return totalBytes / 1e6 / (elapsedMs / 1000)
  })
}

/** Runs `work` with an append of `bytes` and its sync. */
export function withSync<T>(bytes: number, work: (sync: () => Promise<void>) => Promise<T>): Promise<T> {
  return inDirectory(async (directory) => {
    const handle = await open(join(directory, 'baseline'), 'w')
    const piece = Buffer.alloc(bytes, 7)
    const done = await work(async () => {
      await handle.write(piece)
      await handle.datasync()
    })
    await handle.close()
    return done
  })
}

/** Milliseconds of one append of `bytes` with its sync, median. */
export function syncMs(bytes: number, count: number): Promise<number> {
  return withSync(bytes, (sync) => medianOf(count, () => timed(sync)))
}

/** Megabytes a second of `totalBytes` from this process to another through a socket, or the other way, in pieces of 256 KiB. */
export async function tcpCopyMbs(direction: 'up' | 'down', totalBytes: number): Promise<number> {
  const other = fork(new URL('./tcp-peer.ts', import.meta.url), [direction, String(totalBytes)])
  try {
    const [port] = (await once(other, 'message')) as [number]
    const socket = net.connect(port, '127.0.0.1')
    await once(socket, 'connect')
    const elapsedMs = await timed(() => (direction === 'up' ? sendBytes(socket, totalBytes) : receiveBytes(socket, totalBytes)))
    socket.destroy()
    return totalBytes / 1e6 / (elapsedMs / 1000)
  } finally {
    other.kill()
  }
}

const identity = { serialize: (value: Buffer) => value, deserialize: (value: Buffer) => value }

const ECHO = {
  path: '/bench/Echo',
  requestStream: true,
  responseStream: true,
  requestSerialize: identity.serialize,
  requestDeserialize: identity.deserialize,
  responseSerialize: identity.serialize,
  responseDeserialize: identity.deserialize,
} as const

const OPTIONS = {
  'grpc.max_receive_message_length': 64 * MIB,
  'grpc.max_send_message_length': -1,
  'grpc-node.flow_control_window': 8 * MIB,
}

/** A grpc-js server in a thread of its own: `small` answers each message with a few bytes, `large` with as many bytes as the message asks for. */
export async function withEcho<T>(work: (client: grpc.Client) => Promise<T>): Promise<T> {
  const worker = new Worker(new URL('./echo-server.ts', import.meta.url))
  const port = await new Promise<number>((resolve) => worker.once('message', resolve))
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), OPTIONS)
  try {
    return await work(client)
  } finally {
    client.close()
    await worker.terminate()
  }
}

/** Megabytes a second through one bidirectional stream, `inFlight` messages at a time, small answers. */
export function streamUpMbs(messageBytes: number, totalBytes: number, inFlight: number): Promise<number> {
  return withEcho(async (client) => {
    const message = Buffer.alloc(messageBytes, 0)
    message.writeUInt32BE(8, 0)
    const elapsedMs = await timed(() => exchange(client, message, Math.ceil(totalBytes / messageBytes), inFlight))
    return totalBytes / 1e6 / (elapsedMs / 1000)
  })
}

/** Megabytes a second of answers of `messageBytes` through one stream. */
export function streamDownMbs(messageBytes: number, totalBytes: number, inFlight: number): Promise<number> {
  return withEcho(async (client) => {
    const message = Buffer.alloc(16)
    message.writeUInt32BE(messageBytes, 0)
    const elapsedMs = await timed(() => exchange(client, message, Math.ceil(totalBytes / messageBytes), inFlight))
    return totalBytes / 1e6 / (elapsedMs / 1000)
  })
}

/** Runs `work` with a small message there and back. */
export function withRoundTrip<T>(work: (roundTrip: () => Promise<void>) => Promise<T>): Promise<T> {
  return withEcho(async (client) => {
    const message = Buffer.alloc(100)
    message.writeUInt32BE(100, 0)
    const call = openEcho(client)
    const done = await work(async () => {
      const answered = new Promise((resolve) => call.once('data', resolve))
      call.write(message)
      await answered
    })
    call.cancel()
    return done
  })
}

/** Milliseconds of one small message there and back, median. */
export function roundTripMs(count: number): Promise<number> {
  return withRoundTrip((roundTrip) => medianOf(count, () => timed(roundTrip)))
}

function openEcho(client: grpc.Client): grpc.ClientDuplexStream<Buffer, Buffer> {
  const call = client.makeBidiStreamRequest(ECHO.path, ECHO.requestSerialize, ECHO.responseDeserialize)
  call.on('error', () => {})
  return call
}

async function exchange(client: grpc.Client, message: Buffer, count: number, inFlight: number): Promise<void> {
  const call = openEcho(client)
  let sent = 0
  let answered = 0
  const done = Promise.withResolvers<void>()
  const send = (): void => {
    if (sent >= count) return
    sent++
    call.write(message)
  }
  call.on('data', () => {
    if (++answered === count) done.resolve()
    else send()
  })
  for (let slot = 0; slot < inFlight; slot++) send()
  await done.promise
  call.cancel()
}
