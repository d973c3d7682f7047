/** The options of a consumer, parsed and checked once. */
import { TidemarkError } from '../../protocol/errors.ts'
import { type Duration, parseDuration, parseSize } from '../../protocol/units.ts'
import { checkKnown, type KnownOptions } from '../known-options.ts'
import type { ConsumerOptions, ReadingOptions } from '../types.ts'
import type { FetchSettings } from './node-fetch.ts'

export interface ConsumerSettings extends FetchSettings {
  /** Infinite: never. */
  readonly stallTimeoutMs: number
  readonly checkCrc: boolean
  readonly onOutOfRange: 'error' | 'earliest' | 'latest'
}

/** What consumers with and without a group have in common. */
export const KNOWN_READING: KnownOptions<ReadingOptions> = {
  prefetchBytes: true,
  fetchBytes: true,
  maxWait: true,
  minBytes: true,
  onOutOfRange: true,
  checkCrc: true,
  stallTimeout: true,
  signal: true,
}

const KNOWN: KnownOptions<ConsumerOptions> = { group: true, start: true, end: true, partitions: true, ...KNOWN_READING }

/** Throws `USAGE`. */
export function consumerSettings(options: ConsumerOptions): ConsumerSettings {
  if (options?.start === undefined) throw new TidemarkError('USAGE', 'a consumer needs `start`: where to begin is never guessed')
  checkKnown(options, KNOWN, 'a consumer')
  const bad = options.partitions?.find((partition) => !Number.isInteger(partition) || partition < 0)
  if (bad !== undefined) throw new TidemarkError('USAGE', `${bad} is not a partition`)
  return readingSettings(options, '5m')
}

/** The same as settings. */
export function readingSettings(options: ReadingOptions, stallTimeoutDefault: Duration): ConsumerSettings {
  const { stallTimeout } = options
  return {
    prefetchBytes: parseSize(options.prefetchBytes ?? '16MiB', 'prefetchBytes'),
    fetchBytes: parseSize(options.fetchBytes ?? '8MiB', 'fetchBytes'),
    maxWaitMs: parseDuration(options.maxWait ?? '60s', 'maxWait'),
    minBytes: parseSize(options.minBytes ?? 1, 'minBytes'),
    stallTimeoutMs: stallTimeout === false ? Number.POSITIVE_INFINITY : parseDuration(stallTimeout ?? stallTimeoutDefault, 'stallTimeout'),
    checkCrc: options.checkCrc ?? true,
    onOutOfRange: options.onOutOfRange ?? 'error',
  }
}
