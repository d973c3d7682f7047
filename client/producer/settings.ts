/** The options of a producer, parsed and checked once. */
import { type CompressionName, codecNumber } from '../../protocol/compression.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { DUPLICATE_WINDOW } from '../../protocol/ids.ts'
import { parseDuration, parseSize } from '../../protocol/units.ts'
import { checkKnown, type KnownOptions } from '../known-options.ts'
import type { Acks, ProducerOptions } from '../types.ts'

export interface ProducerSettings {
  readonly acks: Acks
  readonly idempotent: boolean
  readonly lingerMs: number
  readonly batchBytes: number
  readonly bufferBytes: number
  readonly maxBlockMs: number
  readonly compression: CompressionName
  readonly inFlightMax: number
  readonly deliveryTimeoutMs: number
  readonly requestTimeoutMs: number
}

const KNOWN: KnownOptions<ProducerOptions> = {
  acks: true,
  idempotent: true,
  linger: true,
  batchBytes: true,
  bufferBytes: true,
  maxBlock: true,
  compression: true,
  maxInFlight: true,
  deliveryTimeout: true,
  requestTimeout: true,
  onFailure: true,
}

export function producerSettings(options: ProducerOptions): ProducerSettings {
  checkKnown(options, KNOWN, 'a producer')
  const acks = options.acks ?? 'all'
  if (acks !== 'all' && acks !== 'leader' && acks !== 'none')
    throw new TidemarkError('INVALID_ACKS', `acks is ${JSON.stringify(acks)}, expected all, leader or none`)
  const idempotent = options.idempotent ?? acks === 'all'
  if (idempotent && acks !== 'all') throw new TidemarkError('USAGE', `an idempotent producer needs acks all, not ${acks}`)
  const compression = options.compression ?? 'none'
  codecNumber(compression)
  const inFlightMax = options.maxInFlight ?? DUPLICATE_WINDOW
  if (!Number.isInteger(inFlightMax) || inFlightMax < 1 || inFlightMax > DUPLICATE_WINDOW)
    throw new TidemarkError('USAGE', `maxInFlight is ${inFlightMax}, allowed is 1 to ${DUPLICATE_WINDOW}`)
  return {
    acks,
    idempotent,
    lingerMs: parseDuration(options.linger ?? 0, 'linger'),
    batchBytes: parseSize(options.batchBytes ?? '256KiB', 'batchBytes'),
    bufferBytes: parseSize(options.bufferBytes ?? '32MiB', 'bufferBytes'),
    maxBlockMs: parseDuration(options.maxBlock ?? '60s', 'maxBlock'),
    compression,
    inFlightMax,
    deliveryTimeoutMs: parseDuration(options.deliveryTimeout ?? '2m', 'deliveryTimeout'),
    requestTimeoutMs: parseDuration(options.requestTimeout ?? '30s', 'requestTimeout'),
  }
}
