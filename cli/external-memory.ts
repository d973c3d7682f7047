/**
 * Buffers lie outside V8's heap. V8 counts them all the same towards the limit of its heap, which with the small heap of a node is a few dozen
 * megabytes: a node that moves a gigabyte of batches has the whole heap collected some two hundred times, for next to nothing. With this setting the
 * limit for buffers is one of its own. Costs up to 100 MiB of memory while a node is busy, none while it is idle.
 */
import { createRequire } from 'node:module'

/** Takes effect at once; loads what it needs only now, for nothing that is waited for. */
export function countBuffersApart(): void {
  const v8 = createRequire(import.meta.url)('node:v8') as typeof import('node:v8')
  v8.setFlagsFromString('--external-memory-accounted-in-global-limit')
}
