/** Looks into a node that runs as a process of its own, by its debugger: what is on its heap once the garbage is gone. */
import { once } from 'node:events'
import type { NodeProcess } from '../../scripts/node-process.ts'

/** For the environment of a node that is to be looked into. */
export const INSPECTED: Readonly<Record<string, string>> = { NODE_OPTIONS: '--inspect=127.0.0.1:0' }

/** Bytes in use on the heap of a running node, and outside of it in buffers. */
export async function heapBytes({ stderr }: NodeProcess): Promise<number> {
  const [url] = /ws:\/\/\S+/.exec(stderr) ?? []
  if (url === undefined) throw new Error(`the node did not say where its debugger listens: ${stderr}`)
  const socket = new WebSocket(url)
  await once(socket, 'open')
  try {
    // Twice: what the first one finalizes, the second collects.
    for (const id of [1, 2]) await ask(socket, id, 'HeapProfiler.collectGarbage')
    const { usedSize, backingStorageSize = 0 } = await ask(socket, 3, 'Runtime.getHeapUsage')
    return (usedSize ?? 0) + backingStorageSize
  } finally {
    socket.close()
  }
}

async function ask(socket: WebSocket, id: number, method: string): Promise<{ usedSize?: number; backingStorageSize?: number }> {
  socket.send(JSON.stringify({ id, method }))
  for (;;) {
    const [event] = (await once(socket, 'message')) as [{ readonly data: string }]
    const answer = JSON.parse(event.data) as { id?: number; result: { usedSize?: number; backingStorageSize?: number } }
    if (answer.id === id) return answer.result
  }
}
