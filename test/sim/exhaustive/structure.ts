/**
 * Objects as what they are made of: copies that share nothing that can change, and texts that are equal when the objects are.
 *
 * Messages, entries and snapshots are values: nobody changes one after it was made. Copies share them, frozen, so that whoever
 * does it all the same is found out.
 */

type Fields = Record<string, unknown>
type Rename = (id: number) => number

/** Where the core keeps ids of nodes. */
const ID_FIELDS = new Set(['id', 'from', 'to', 'vote', 'leader', 'transferee', 'nodeId'])
const ID_LISTS = new Set(['voters', 'learners'])
const ID_MAPS = new Set(['progress', 'votes', 'acks'])
/** In the contents of entries that remove one. */
const ID_IN_TEXT = /(?<=remove )\d+/

export function renamedText(text: string, rename: Rename): string {
  return text.replace(ID_IN_TEXT, (id) => String(rename(Number(id))))
}

/**
 * A copy of everything that can be reached from `value`, of the same classes; what is reached twice is copied once. Functions
 * and bytes are shared: nobody changes them. `rename`: every node is called something else in the copy.
 */
export function copyOf<Value>(value: Value, rename?: Rename): Value {
  return new Copier(rename).copy(value, '') as Value
}

class Copier {
  readonly #rename: Rename | undefined
  readonly #known = new Map<object, object>()

  constructor(rename: Rename | undefined) {
    this.#rename = rename
  }

  /** `name`: of the field it is in. */
  copy(value: unknown, name: string): unknown {
    if (typeof value === 'number' && this.#rename !== undefined && ID_FIELDS.has(name)) return value === 0 ? 0 : this.#rename(value)
    if (typeof value === 'string' && this.#rename !== undefined) return renamedText(value, this.#rename)
    if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
    const known = this.#known.get(value)
    if (known !== undefined) return known
    if (this.#rename === undefined && isValue(value)) return frozen(value)
    if (Array.isArray(value)) return this.#copyList(value, name)
    if (value instanceof Map) return this.#copyMap(value as Map<unknown, unknown>, name)
    if (value instanceof Set) return new Set(value)
    const object = Object.create(Object.getPrototypeOf(value) as object) as Fields
    this.#known.set(value, object)
    for (const field of Object.keys(value)) object[field] = this.copy((value as Fields)[field], field)
    return object
  }

  #copyList(list: readonly unknown[], name: string): unknown[] {
    const rename = ID_LISTS.has(name) ? this.#rename : undefined
    const items: unknown[] = []
    this.#known.set(list, items)
    for (const item of list) items.push(rename === undefined ? this.copy(item, '') : rename(item as number))
    // Members are sorted.
    return rename === undefined ? items : (items as number[]).sort((a, b) => a - b)
  }

  #copyMap(map: ReadonlyMap<unknown, unknown>, name: string): Map<unknown, unknown> {
    const rename = ID_MAPS.has(name) ? this.#rename : undefined
    const entries = new Map<unknown, unknown>()
    this.#known.set(map, entries)
    for (const [key, item] of map) entries.set(rename === undefined ? key : rename(key as number), this.copy(item, ''))
    return entries
  }
}

function isValue(value: object): boolean {
  return Object.isFrozen(value) || 'type' in value || 'meta' in value
}

/** With all that it is made of. */
function frozen<Value extends object>(value: Value): Value {
  if (Object.isFrozen(value)) return value
  for (const part of Object.values(value))
    if (typeof part === 'object' && part !== null && !(part instanceof Uint8Array)) frozen(part as object)
  return Object.freeze(value)
}

const textsOfValues = new WeakMap<object, string>()

/**
 * Everything that can be reached, but for fields called as in `leftOut`: equal for values that nobody could tell apart. Fields and
 * maps are in the order of their names.
 */
export function textOf(value: unknown, leftOut: ReadonlySet<string>): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'function') return 'f'
  if (value === undefined) return ''
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value !== 'object') throw new TypeError(`no text for a ${typeof value}`)
  if (value instanceof Uint8Array) return `"${Buffer.from(value).toString('latin1')}"`
  if (Array.isArray(value)) {
    let text = '['
    for (const item of value) text += `${textOf(item, leftOut)},`
    return `${text}]`
  }
  if (value instanceof Map) {
    const entries = [...(value as ReadonlyMap<number, unknown>)].sort(([a], [b]) => a - b)
    return `{${entries.map(([key, item]) => `${key}:${textOf(item, leftOut)}`).join()}}`
  }
  if (value instanceof Set) return textOf([...value], leftOut)
  const known = textsOfValues.get(value)
  if (known !== undefined) return known
  let text = '('
  for (const name of Object.keys(value).sort()) if (!leftOut.has(name)) text += `${textOf((value as Fields)[name], leftOut)},`
  text += ')'
  if (Object.isFrozen(value)) textsOfValues.set(value, text)
  return text
}
