/**
 * Programs of the kernel's packet filter (classic BPF, as `tc` takes it): what becomes of an IPv4 packet. A program is its length and then its instructions, each an
 * operation, how far to jump if it is true and if not, and a number.
 */
const LOAD = 32
const JUMP_IF_EQUAL = 21
const JUMP_IF_GREATER = 37
const RETURN = 6
/** Behind the addresses of Ethernet. */
const DESTINATION = 30
/** Loads chance instead of bytes. */
const RANDOM = 0x1_0000_0000 - 0x1000 + 56

/** What a filter that decides itself says. */
const DROP = 2
const NEXT_FILTER = 0xffff_ffff

/** What a filter that only matches says. */
const MATCHES = 0xffff_ffff
const DOES_NOT = 0

/** Everything passes. */
export const PASS = `1,${RETURN} 0 0 ${NEXT_FILTER}`

/** Of packets to each address, drops a share from 0 to 1. */
export function dropProgram(rules: readonly { readonly address: string; readonly share: number }[]): string {
  const lines = rules.flatMap(({ address, share }) => [
    `${LOAD} 0 0 ${DESTINATION}`,
    `${JUMP_IF_EQUAL} 0 3 ${numberOf(address)}`,
    `${LOAD} 0 0 ${RANDOM}`,
    `${JUMP_IF_GREATER} 1 0 ${limitOf(share)}`,
    `${RETURN} 0 0 ${DROP}`,
  ])
  return programOf([...lines, `${RETURN} 0 0 ${NEXT_FILTER}`])
}

/** Matches a share of all packets. */
export function chanceProgram(share: number): string {
  return programOf([
    `${LOAD} 0 0 ${RANDOM}`,
    `${JUMP_IF_GREATER} 1 0 ${limitOf(share)}`,
    `${RETURN} 0 0 ${MATCHES}`,
    `${RETURN} 0 0 ${DOES_NOT}`,
  ])
}

function programOf(lines: readonly string[]): string {
  return [lines.length, ...lines].join(',')
}

/** Chance is at most this in a share of all cases; always with a share of 1. */
function limitOf(share: number): number {
  return Math.round(share * 0xffff_ffff)
}

function numberOf(address: string): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
}
