/** What the tests of the client share: a client of the fake broker, and time that runs faster. */
import { ClusterClient } from '../../client/cluster-client.ts'
import { Tidemark } from '../../client/connect.ts'
import { createGrpcTransport } from '../../client/grpc-transport.ts'
import type { RetryRuntime } from '../../client/retry.ts'
import type { Transport } from '../../client/transport.ts'
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import type { ErrorCode } from '../../protocol/errors.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { nodeClock, nodeRandom, nodeTimers } from '../../runtime/node.ts'
import type { FakeBroker } from './fake-broker.ts'

/** The real world with a clock and timers that run `speed` times as fast. */
export function fastRuntime(speed: number): RetryRuntime {
  return {
    clock: { now: nodeClock.now, monotonic: () => nodeClock.monotonic() * speed },
    timers: {
      after: (delayMs, run) => nodeTimers.after(delayMs / speed, run),
      every: (periodMs, run) => nodeTimers.every(periodMs / speed, run),
      nextTurn: nodeTimers.nextTurn,
    },
    random: nodeRandom,
  }
}

/** The real transport, whose calls time out in the time of the client. */
function fastTransport(speed: number): Transport {
  const real = createGrpcTransport(nodeClock)
  return {
    connection(address) {
      const connection = real.connection(address)
      return {
        call: (name, request, options) => connection.call(name, request, { ...options, timeoutMs: options.timeoutMs / speed }),
        openProduce: (events) => connection.openProduce(events),
        openFetch: (events) => connection.openFetch(events),
      }
    },
    close: () => real.close(),
  }
}

export function clientOf(broker: FakeBroker, options: { readonly speed?: number; readonly requestTimeoutMs?: number } = {}): Tidemark {
  return new Tidemark(
    new ClusterClient({
      runtime: fastRuntime(options.speed ?? 1),
      transport: fastTransport(options.speed ?? 1),
      bootstrap: broker.addresses,
      requestTimeoutMs: options.requestTimeoutMs ?? 120_000,
    }),
  )
}

/** What `work` was rejected with; fails when it was not. */
export async function failureOf(work: Promise<unknown>): Promise<TidemarkError> {
  const error = await work.then(
    (value) => new Error(`resolved with ${String(value)}`),
    (caught: unknown) => caught,
  )
  return asTidemarkError(error)
}

/** Throws what is none. */
export function asTidemarkError(error: unknown): TidemarkError {
  if (TidemarkError.is(error)) return error
  throw error
}

export async function codeOf(work: Promise<unknown>): Promise<ErrorCode> {
  return (await failureOf(work)).code
}

/** One batch with these values. */
export function batchOf(values: readonly string[], timestampMs = 1000): Promise<Buffer> {
  const builder = new BatchBuilder()
  for (const value of values) builder.append(null, Buffer.from(value), timestampMs)
  return builder.build()
}

/** Resolves once `isTrue`, looking after every turn of the event loop. */
export async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setImmediate(resolve))
}

export function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, n) => String(from + n))
}
