/** What a setting may be, for people: of nodes and of topics alike. */
import { formatDuration, formatSize } from './units.ts'

/** The part of a setting's type that says what is allowed. */
export interface AllowedType {
  readonly kind: string
  readonly min?: number
  readonly max?: number
  readonly values?: readonly string[]
  readonly unlimited?: boolean
}

/** A range such as `100ms to 1h`, or what a value is; and the words that may stand in its place. */
export interface AllowedValues {
  readonly range: string | undefined
  readonly words: readonly string[]
}

export function allowedValues({ kind, min = 0, max = 0, values = [], unlimited = false }: AllowedType): AllowedValues {
  const words = unlimited ? ['unlimited'] : []
  switch (kind) {
    case 'choice':
      return { range: undefined, words: values }
    case 'boolean':
      return { range: undefined, words: ['true', 'false'] }
    case 'integer':
    case 'ratio':
      return { range: `${min} to ${max}`, words }
    case 'size':
      return { range: `${formatSize(min)} to ${formatSize(max)}`, words }
    case 'duration':
      return { range: `${formatDuration(min)} to ${formatDuration(max)}`, words }
    default:
      return { range: kind, words }
  }
}
