/** Chance that comes from a seed. */

export type Chance = () => number

/** Uniform in [0, 1), a function of the seed (mulberry32). */
export function chanceOf(seed: number): Chance {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** One stream of chance for each concern, so that more of one (a message, say) does not change another (the faults). */
export function streamOf(seed: number, concern: string): Chance {
  let hash = seed >>> 0
  for (let at = 0; at < concern.length; at++) hash = Math.imul(hash ^ concern.charCodeAt(at), 0x01000193) >>> 0
  return chanceOf(hash)
}

export function between(chance: Chance, from: number, to: number): number {
  return from + chance() * (to - from)
}

export function pick<T>(chance: Chance, from: readonly T[]): T {
  return from[Math.floor(chance() * from.length)] as T
}

/** One of them, each as likely as its weight says. There is at least one. */
export function pickWeighted<T extends { readonly weight: number }>(chance: Chance, from: readonly T[]): T {
  let at = chance() * from.reduce((sum, { weight }) => sum + weight, 0)
  return from.find(({ weight }) => (at -= weight) < 0) ?? (from[0] as T)
}
