/** What a setting of a node may be, and how its text becomes a value. Sizes are bytes, durations milliseconds. */
import { TidemarkError } from '../protocol/errors.ts'
import { formatDuration, formatSize, parseDuration, parseSize } from '../protocol/units.ts'

export type Role = 'broker' | 'controller'

export interface ListenAddress {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
}

/** A controller and where it is reached. */
export interface VoterAddress extends ListenAddress {
  readonly nodeId: number
}

export type NodeSettingType =
  | { readonly kind: 'address'; readonly optional?: boolean }
  | { readonly kind: 'string' }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'roles' | 'voters' | 'addresses' }
  | { readonly kind: 'choice'; readonly values: readonly string[] }
  | { readonly kind: 'integer' | 'duration' | 'size'; readonly min: number; readonly max: number }

export interface NodeSetting {
  readonly type: NodeSettingType
  readonly defaultText: string
  readonly text: string
}

export const duration = (min: number, max: number): NodeSettingType => ({ kind: 'duration', min, max })
export const size = (min: number, max: number): NodeSettingType => ({ kind: 'size', min, max })
export const integer = (min: number, max: number): NodeSettingType => ({ kind: 'integer', min, max })

/** Throws `INVALID_CONFIG` naming the key, the text and what is allowed. */
export function parseValue(key: string, type: NodeSettingType, text: string): unknown {
  switch (type.kind) {
    case 'string':
      return text
    case 'boolean':
      if (text !== 'true' && text !== 'false') throw wrong(key, text, 'true or false')
      return text === 'true'
    case 'choice':
      if (!type.values.includes(text)) throw wrong(key, text, `one of ${type.values.join(', ')}`)
      return text
    case 'address':
      return text === '' && type.optional ? undefined : parseListenAddress(key, text)
    case 'roles':
      return parseRoles(key, text)
    case 'voters':
      return parseVoters(key, text)
    case 'addresses':
      return listOf(text).map((part) => parseListenAddress(key, part))
    case 'integer':
      if (!/^\d+$/.test(text)) throw wrong(key, text, 'a whole number')
      return within(key, Number(text), type, String)
    case 'duration':
      return within(key, parseDuration(text, key), type, formatDuration)
    case 'size':
      return within(key, parseSize(text, key), type, formatSize)
  }
}

/** `host:port`, `[::1]:port` or a port alone. */
export function parseListenAddress(key: string, text: string): ListenAddress {
  const match = /^(?:(\[[0-9a-fA-F:.]+\]|[^:\s]+):)?(\d{1,5})$/.exec(text)
  const port = Number(match?.[2])
  if (match === null || port > 65_535) throw wrong(key, text, 'an address such as 127.0.0.1:9092')
  return { host: (match[1] ?? '127.0.0.1').replace(/^\[|\]$/g, ''), port }
}

function parseRoles(key: string, text: string): readonly Role[] {
  const roles = text.split(',').map((role) => role.trim())
  const isSound =
    roles.length > 0 && roles.every((role) => role === 'broker' || role === 'controller') && new Set(roles).size === roles.length
  if (!isSound) throw wrong(key, text, 'broker, controller or both')
  return roles as Role[]
}

/** `1@host:port,2@host:port`; no node twice. */
function parseVoters(key: string, text: string): VoterAddress[] {
  const voters = listOf(text).map((part) => {
    const match = /^(\d{1,10})@(.+)$/.exec(part)
    const nodeId = Number(match?.[1])
    if (match === null || nodeId < 1 || nodeId >= 2 ** 31)
      throw wrong(key, part, 'a node id from 1 on and an address, such as 1@10.0.0.1:9092')
    return { nodeId, ...parseListenAddress(key, match[2] as string) }
  })
  if (new Set(voters.map(({ nodeId }) => nodeId)).size !== voters.length) throw wrong(key, text, 'each node once')
  return voters
}

function listOf(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

function within(
  key: string,
  value: number,
  range: { readonly min: number; readonly max: number },
  format: (value: number) => string,
): number {
  if (value < range.min || value > range.max)
    throw new TidemarkError('INVALID_CONFIG', `${key} is ${format(value)}, allowed is ${format(range.min)} to ${format(range.max)}`)
  return value
}

function wrong(key: string, text: string, expected: string): TidemarkError {
  return new TidemarkError('INVALID_CONFIG', `${key} is ${JSON.stringify(text)}, expected ${expected}`)
}

/** True for "every address of this machine": good to listen on, and nothing anyone could dial. */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || /^[0:]*:[0:]*$/.test(host)
}

/** True for addresses that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\./.test(host)
}
