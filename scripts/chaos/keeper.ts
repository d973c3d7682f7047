/** Clients that look after topics of which only a part stays: a keeper writes to them, a registrar makes, changes and deletes them. */
import { TidemarkError } from '../../protocol/errors.ts'
import { chanceOf, pickWeighted } from '../random.ts'
import { describe, endingOf, type Life, sleep } from './client-process.ts'
import { KEPT_VALUE_BYTES, LATEST_TOPIC, PASSING_PREFIX, PASSING_SETTING, RECENT_TOPIC } from './topics.ts'

const KEYS = 20
const OPEN_MAX = 100
const CHANGES_PER_TOPIC = 8
const CHANGE_EVERY_MS = 300

/** Gives keys of its own one value after the other. The same goes to the topic of which the newest part stays, where nobody asks for it again. */
export async function keep({ tm, history, stop, process: name, settings, nextId }: Life): Promise<void> {
  const producer = tm.producer()
  const open = new Set<Promise<void>>()
  const put = async (id: number): Promise<void> => {
    const [key, value] = [`${settings.name}/${id % KEYS}`, `${name}:${id}`]
    const padded = value.padEnd(KEPT_VALUE_BYTES)
    history.write({ op: 'put', type: 'invoke', id, key, value })
    const filled = producer.send(RECENT_TOPIC, { key, value: padded }).catch(() => {})
    try {
      const { partition, offset } = await producer.send(LATEST_TOPIC, { key, value: padded })
      history.write({ op: 'put', type: 'ok', id, at: [partition, Number(offset)] })
    } catch (caught) {
      const error = TidemarkError.from(caught)
      history.write({ op: 'put', type: endingOf(error), id, error: error.code })
    }
    await filled
  }
  while (!stop.aborted) {
    if (open.size < OPEN_MAX) {
      const one: Promise<void> = put(nextId()).finally(() => open.delete(one))
      open.add(one)
    }
    await sleep(1000 / settings.recordsPerSecond, stop)
  }
  await Promise.all(open)
  await producer.close()
}

const CHANGES = [
  { verb: 'create', weight: 3 },
  { verb: 'alter', weight: 3 },
  { verb: 'delete', weight: 2 },
] as const

/** One change after the other, of topics that nobody else changes, whether they fit or not. */
export async function register({ tm, history, stop, process: name, settings, nextId }: Life): Promise<void> {
  const chance = chanceOf(settings.life)
  while (!stop.aborted) {
    const id = nextId()
    const topic = `${PASSING_PREFIX}${name}-${Math.floor(id / CHANGES_PER_TOPIC)}`
    const { verb } = pickWeighted(chance, CHANGES)
    const value = String(1_000_000 + id)
    history.write({ op: 'change', type: 'invoke', id, topic, verb, value })
    const act = (): Promise<unknown> => {
      const configs = { [PASSING_SETTING]: value }
      if (verb === 'create') return tm.admin.createTopic(topic, { partitions: 1, replicas: 3, configs })
      return verb === 'delete' ? tm.admin.deleteTopic(topic) : tm.admin.alterConfigs(topic, { set: configs })
    }
    try {
      await act()
      history.write({ op: 'change', type: 'ok', id })
    } catch (caught) {
      const error = TidemarkError.from(caught)
      history.write({ op: 'change', type: endingOf(error), id, error: error.code, why: describe(error) })
    }
    await sleep(CHANGE_EVERY_MS, stop)
  }
}
