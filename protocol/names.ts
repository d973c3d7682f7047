/** Rules for names that users choose. */
import { TidemarkError } from './errors.ts'

/** Longest topic name: with `-<partition>` and a suffix such as `.deleted` it must stay a legal file name (255 bytes). */
export const TOPIC_NAME_MAX_LENGTH = 249

const TOPIC_NAME = /^[a-zA-Z0-9._-]+$/

/** Throws `INVALID_TOPIC_NAME` with the broken rule unless `name` may name a topic. */
export function validateTopicName(name: string): void {
  const problem = topicNameProblem(name)
  if (problem !== undefined) throw new TidemarkError('INVALID_TOPIC_NAME', `topic name ${quote(name)} ${problem}`)
}

function topicNameProblem(name: string): string | undefined {
  if (name.length === 0) return 'is empty'
  if (name.length > TOPIC_NAME_MAX_LENGTH) return `has ${name.length} characters, at most ${TOPIC_NAME_MAX_LENGTH} are allowed`
  if (name === '.' || name === '..') return 'is reserved'
  if (!TOPIC_NAME.test(name)) return 'may hold only letters, digits, dot, underscore and hyphen'
  return undefined
}

/** Longest id of a consumer group. */
export const GROUP_ID_MAX_LENGTH = 249

/** Throws `INVALID_GROUP_ID` with the broken rule unless `id` may name a consumer group. */
export function validateGroupId(id: string): void {
  const problem = groupIdProblem(id)
  if (problem !== undefined) throw new TidemarkError('INVALID_GROUP_ID', `group id ${quote(id)} ${problem}`)
}

function groupIdProblem(id: string): string | undefined {
  if (id.length === 0) return 'is empty'
  if (id.length > GROUP_ID_MAX_LENGTH) return `has ${id.length} characters, at most ${GROUP_ID_MAX_LENGTH} are allowed`
  if (/\p{Cc}/u.test(id)) return 'has control characters'
  if (!id.isWellFormed()) return 'is no well-formed text'
  return undefined
}

/** Two names with the same collision key differ only in `.` and `_`, and may not both exist: metric names would merge them. */
export function topicCollisionKey(name: string): string {
  return name.replaceAll('.', '_')
}

function quote(name: string): string {
  const shown = name.length > 80 ? `${name.slice(0, 80)}…` : name
  return JSON.stringify(shown)
}
