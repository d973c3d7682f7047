/**
 * Buffers lie outside V8's heap. V8 counts them all the same towards the limit of its heap, which with the small heap of a node is a few dozen
 * megabytes: a node that moves a gigabyte of batches has the whole heap collected some two hundred times, for next to nothing. With this setting the
 * limit for buffers is one of its own. Costs up to 100 MiB of memory while a node is busy, none while it is idle; one that has little may not take them.
 */
import { createRequire } from 'node:module'

/** With less, a process that is ended by the kernel is worse than one that collects more often. */
const MEMORY_MIN_BYTES = 1024 * 1024 * 1024

/** Takes effect at once; loads what it needs only now, for nothing that is waited for. */
export function countBuffersApart(): void {
  const require = createRequire(import.meta.url)
  const v8 = require('node:v8') as typeof import('node:v8')
  const { totalmem } = require('node:os') as typeof import('node:os')
  // Of the control group: 0, or more than there is, where it has no limit.
  const allowedBytes = process.constrainedMemory() || Number.POSITIVE_INFINITY
  if (Math.min(allowedBytes, totalmem()) < MEMORY_MIN_BYTES) return
  v8.setFlagsFromString('--external-memory-accounted-in-global-limit')
}
