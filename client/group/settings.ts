/** The options of a consumer in a group, parsed and checked once. */
import { TidemarkError } from '../../protocol/errors.ts'
import { validateGroupId } from '../../protocol/names.ts'
import { parseDuration } from '../../protocol/units.ts'
import { type ConsumerSettings, KNOWN_READING, readingSettings } from '../consumer/settings.ts'
import { checkKnown, type KnownOptions } from '../known-options.ts'
import type { Delivery, GroupConsumerOptions, OffsetStore } from './types.ts'

/** Longer than most handlers take, shorter than anyone wants to wait for an answer why nothing happens. */
const STALL_TIMEOUT_DEFAULT = '15m'

export interface GroupSettings extends ConsumerSettings {
  readonly group: string
  readonly start: GroupConsumerOptions['start']
  readonly instanceId: string
  readonly assignor: string
  readonly delivery: Delivery
  readonly offsets: OffsetStore | undefined
  /** Undefined: not said. */
  readonly commit: CommitSetting | undefined
  /** 0: the node's. */
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly closeTimeoutMs: number
}

export type CommitSetting = 'manual' | 'handled' | { readonly intervalMs: number }

const KNOWN: KnownOptions<GroupConsumerOptions> = {
  group: true,
  start: true,
  instanceId: true,
  assignor: true,
  delivery: true,
  offsets: true,
  commit: true,
  sessionTimeout: true,
  rebalanceTimeout: true,
  closeTimeout: true,
  ...KNOWN_READING,
}

/** Throws `USAGE`, `INVALID_GROUP_ID`. */
export function groupSettings(options: GroupConsumerOptions): GroupSettings {
  validateGroupId(options.group)
  checkKnown(options, KNOWN, 'a consumer in a group')
  if (options.start === undefined)
    throw new TidemarkError('USAGE', 'a group needs `start`: where it begins when it has committed nothing is never guessed')
  const delivery = options.delivery ?? 'at-least-once'
  if ((delivery === 'effectively-once') !== (options.offsets !== undefined))
    throw new TidemarkError('USAGE', 'effectively-once needs `offsets`, where results and offsets are stored together; nothing else does')
  if (delivery === 'at-most-once' && options.commit !== undefined)
    throw new TidemarkError('USAGE', 'at-most-once commits before handling: it takes no `commit`')
  return {
    ...readingSettings(options, STALL_TIMEOUT_DEFAULT),
    group: options.group,
    start: options.start,
    instanceId: options.instanceId ?? '',
    assignor: options.assignor ?? '',
    delivery,
    offsets: options.offsets,
    commit: commitSetting(options.commit),
    sessionTimeoutMs: options.sessionTimeout === undefined ? 0 : parseDuration(options.sessionTimeout, 'sessionTimeout'),
    rebalanceTimeoutMs: parseDuration(options.rebalanceTimeout ?? '5m', 'rebalanceTimeout'),
    closeTimeoutMs: parseDuration(options.closeTimeout ?? '10s', 'closeTimeout'),
  }
}

function commitSetting(style: GroupConsumerOptions['commit']): CommitSetting | undefined {
  if (typeof style !== 'object') return style
  const intervalMs = parseDuration(style.interval, 'commit.interval')
  if (intervalMs < 1) throw new TidemarkError('USAGE', 'commit.interval is at least 1 ms')
  return { intervalMs }
}
