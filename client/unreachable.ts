/** One sentence for a node that cannot be reached, out of what the system said. */

/** `connect ECONNREFUSED 127.0.0.1:9092` and the like hold the system's name of the reason. */
const SYSTEM_CODE = /\bE[A-Z_]{4,}\b/

/** Why nothing could be reached, in the words of the system, if it said: `ECONNREFUSED`. */
export function systemCode(text: string): string | undefined {
  return SYSTEM_CODE.exec(text)?.[0]
}

export function unreachableText(address: string, details: string): string {
  const code = systemCode(details)
  return `${address} cannot be reached${code === undefined ? '' : ` (${code})`}; check the address and that the node runs`
}
