/** Why a node cannot be reached, out of what the system said. What to do about it is the help of `UNAVAILABLE`. */

/** `connect ECONNREFUSED 127.0.0.1:9092` and the like hold the system's name of the reason. */
const SYSTEM_CODE = /\bE[A-Z_]{4,}\b/

const NO_SUCH_NAME = 'its name is not known'
const NAME_TROUBLE = new RegExp(`name resolution failed|${NO_SUCH_NAME}`, 'i')

/** In the words of the system where it has any: `ECONNREFUSED`. */
export function unreachableReason(text: string): string | undefined {
  return SYSTEM_CODE.exec(text)?.[0] ?? (NAME_TROUBLE.test(text) ? NO_SUCH_NAME : undefined)
}

export function unreachableText(address: string, details: string): string {
  const reason = unreachableReason(details)
  return `${address} cannot be reached${reason === undefined ? '' : ` (${reason})`}`
}
