/**
 * Ticks at a fixed rate, from a thread that sleeps in between. A timer of Node is a millisecond late, which would count as latency of
 * what is measured; a loop that looks at the clock takes a core away from it, and leaves garbage.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

/** A sleep ends this much late; the rest is waited for by looking. */
const EARLY_MS = 0.06

interface Schedule {
  readonly perSecond: number
  readonly total: number
}

/** Calls `tick` `total` times, with the time (`performance.now()`) at which each call was due. Resolves after the last. */
export async function paced(perSecond: number, total: number, tick: (dueMs: number) => void): Promise<void> {
  const schedule: Schedule = { perSecond, total }
  const worker = new Worker(new URL(import.meta.url), { workerData: schedule })
  await new Promise<void>((resolve, reject) => {
    let count = 0
    worker.on('error', reject)
    worker.on('message', (dueSinceOriginMs: number) => {
      tick(dueSinceOriginMs - performance.timeOrigin)
      if (++count === total) resolve()
    })
  })
  await worker.terminate()
}

if (!isMainThread) {
  const { perSecond, total } = workerData as Schedule
  const cell = new Int32Array(new SharedArrayBuffer(4))
  const startMs = performance.now()
  for (let count = 0; count < total; count++) {
    const dueMs = startMs + (count / perSecond) * 1000
    const earlyMs = dueMs - performance.now() - EARLY_MS
    if (earlyMs > 0) Atomics.wait(cell, 0, 0, earlyMs)
    while (performance.now() < dueMs) continue
    parentPort?.postMessage(performance.timeOrigin + dueMs)
  }
}
