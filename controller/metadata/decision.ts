/**
 * What becomes of a request: records to commit and the response to give once they are. Deciding is pure: the image and
 * the request decide, randomness is handed in. One bad entry never fails the others.
 */
import { toErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { ErrorDetail } from '../../protocol/gen/tidemark/v1/errors.ts'
import type { MetadataRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'

export interface Decision<Response> {
  readonly records: readonly MetadataRecord[]
  readonly response: Response
}

/** One entry of a request: `decide` returns its result, or throws a `TidemarkError`, of which `refuse` makes the result. */
export function decideEntry<Result>(decide: () => Result, refuse: (error: ErrorDetail) => Result): Result {
  try {
    return decide()
  } catch (error) {
    // A mistake of our own is not an answer.
    if (!TidemarkError.is(error)) throw error
    return refuse(toErrorDetail(error))
  }
}

/** Refuses every entry whose key stands more than once in the request: which of them would count is a guess. */
export function repeatChecker(what: string, keys: readonly string[]): (key: string) => void {
  const counts = new Map<string, number>()
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
  return (key) => {
    if ((counts.get(key) ?? 0) > 1)
      throw new TidemarkError('INVALID_REQUEST', `${what} ${JSON.stringify(key)} stands more than once in the request`)
  }
}
