/** What may happen to a node with a replica, as numbers: a kind and what it is about. */
import { CHARS } from './replica-log.ts'

/** `hear`: an image. `append`: which record. `fetch`, `take`, `decided`: a request or an answer. `crash`: where the log ends then. `start`, `startEmpty`: the image that registers it. */
export const KINDS = ['hear', 'append', 'flush', 'review', 'wait', 'fetch', 'take', 'decided', 'crash', 'start', 'startEmpty'] as const
export type Kind = (typeof KINDS)[number]

/** Greater than every number that an input is about. */
const RANGE = 1 << 24

export function inputOf(kind: Kind, about = 0): number {
  return KINDS.indexOf(kind) * RANGE + about
}

export function kindOf(input: number): Kind {
  return KINDS[Math.floor(input / RANGE)] as Kind
}

export function aboutOf(input: number): number {
  return input % RANGE
}

export function describeInput(input: number): string {
  const about = aboutOf(input)
  switch (kindOf(input)) {
    case 'hear':
      return 'hears what was decided'
    case 'append':
      return `appends ${CHARS[about]}`
    case 'flush':
      return 'flushes'
    case 'review':
      return 'reviews its ISR'
    case 'wait':
      return 'reviews its ISR after a long time'
    case 'fetch':
      return 'answers a fetch'
    case 'take':
      return 'gets the answer to its fetch'
    case 'decided':
      return 'hears what became of the ISR it asked for'
    case 'crash':
      return `crashes, its log ends at ${about} then`
    case 'start':
      return 'starts again'
    case 'startEmpty':
      return 'starts again with an empty disk'
  }
}
