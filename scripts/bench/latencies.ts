/** A histogram of times, and the percentiles of it that are reported. */
import { build, type Histogram } from 'hdr-histogram-js'

const MAX_US = 60_000_000

export interface Percentiles {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** Counts from the time something was due: a sender that falls behind shows in the numbers. */
export class Latencies {
  readonly #histogram: Histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: MAX_US, numberOfSignificantValueDigits: 3 })

  note(dueMs: number): void {
    this.#histogram.recordValue(Math.min(MAX_US, Math.max(1, Math.round((performance.now() - dueMs) * 1000))))
  }

  get percentiles(): Percentiles {
    const ms = (percentile: number): number => this.#histogram.getValueAtPercentile(percentile) / 1000
    return { p50: ms(50), p90: ms(90), p99: ms(99), p999: ms(99.9), max: this.#histogram.maxValue / 1000 }
  }
}

/** The times of `count` calls, one after the other. */
export async function latenciesOf(count: number, call: () => Promise<unknown>): Promise<Percentiles> {
  const latencies = new Latencies()
  for (let round = 0; round < count; round++) {
    const startedMs = performance.now()
    await call()
    latencies.note(startedMs)
  }
  return latencies.percentiles
}

export function asFigures({ p50, p90, p99, p999, max }: Percentiles): Readonly<Record<string, number>> {
  return { 'p50 ms': p50, 'p90 ms': p90, 'p99 ms': p99, 'p99.9 ms': p999, 'max ms': max }
}
