/** What has to move and does not, as an error. Nobody waits in silence. */
import { TidemarkError } from '../../protocol/errors.ts'
import { formatDuration } from '../../protocol/units.ts'
import type { Work } from './assigned.ts'

export interface Signs {
  /** All times are monotonic. */
  readonly nowMs: number
  /** When the coordinator last answered. */
  readonly answeredMs: number
  /** Why it did not let the member in. */
  readonly refusal?: TidemarkError | undefined
  /** Since when no commit gets through. */
  readonly commitsFailSinceMs: number | undefined
  readonly inHand: Iterable<Work>
}

export function findStuck(
  { nowMs, answeredMs, refusal, commitsFailSinceMs, inHand }: Signs,
  { group, stallTimeoutMs }: { readonly group: string; readonly stallTimeoutMs: number },
): TidemarkError | undefined {
  const isTooLong = (sinceMs: number): boolean => nowMs - sinceMs > stallTimeoutMs
  const limit = formatDuration(stallTimeoutMs)
  for (const { assigned, nextOffset, beganMs } of inHand) {
    if (beganMs === undefined || !isTooLong(beganMs)) continue
    const place = `${assigned.topic}-${assigned.partition}`
    return new TidemarkError(
      'STALLED',
      `what was handed over of ${place} up to offset ${nextOffset - 1} has been in hand for more than ${limit}`,
    )
  }
  if (isTooLong(answeredMs)) {
    const trouble = refusal === undefined ? 'has not answered' : 'has not let this member in'
    const why = refusal === undefined ? '' : `: ${refusal.message}`
    return new TidemarkError('STALLED', `the coordinator of group ${group} ${trouble} for more than ${limit}${why}`, { cause: refusal })
  }
  if (commitsFailSinceMs !== undefined && isTooLong(commitsFailSinceMs))
    return new TidemarkError('STALLED', `no commit of group ${group} has got through for more than ${limit}`)
  return undefined
}
