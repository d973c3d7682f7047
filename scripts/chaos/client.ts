/**
 * A client of a chaos run, as a process: `node client.ts <settings as JSON>`. What it does and sees goes into its history. SIGTERM: it ends in order;
 * SIGKILL: in the middle of whatever it does.
 */
import type { ProducerOptions } from '../../client/index.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { type ClientSettings, endingOf, type Life, live, sleep } from './client-process.ts'
import type { At, Looked } from './history.ts'
import { keep, register } from './keeper.ts'
import { RECENT_TOPIC } from './topics.ts'

/** Sends under way at most: when nodes are away, the rest waits. */
const WINDOW = 200
const KEYS = 40
const LOOK_EVERY_MS = 400
/** How long a reader that is told to stop may need to the end. */
const END_MS = 60_000

/** Producers differ: some write once, some may write copies, some give up soon. */
const PRODUCERS: readonly ProducerOptions[] = [
  {},
  { deliveryTimeout: '8s', maxInFlight: 1, linger: '5ms' },
  { idempotent: false, deliveryTimeout: '30s' },
  { compression: 'gzip', linger: '20ms', requestTimeout: '5s' },
  { idempotent: false, deliveryTimeout: '6s', requestTimeout: '2s' },
]

const settings = JSON.parse(process.argv[2] ?? '') as ClientSettings
const { role } = settings
const options = PRODUCERS[settings.index % PRODUCERS.length] as ProducerOptions
switch (role) {
  case 'producer':
    await live(settings, { op: 'start', role, idempotent: options.idempotent !== false }, produce)
    break
  case 'member':
    await live(settings, { op: 'start', role, group: settings.group }, settings.group.endsWith('auto') ? joinWithTimer : joinByHand)
    break
  case 'reader':
    await live(settings, { op: 'start', role }, read)
    break
  case 'keeper':
    await live(settings, { op: 'start', role }, keep)
    break
  case 'registrar':
    await live(settings, { op: 'start', role }, register)
    break
  default:
    await live(settings, { op: 'start', role }, look)
}

async function produce({ tm, history, stop, process: name, nextId }: Life): Promise<void> {
  const producer = tm.producer(options)
  const open = new Set<Promise<void>>()
  const send = async (id: number): Promise<void> => {
    const value = `${name}:${id}`
    history.write({ op: 'send', type: 'invoke', id, value })
    try {
      const { partition, offset } = await producer.send(settings.topic, { key: `k${id % KEYS}`, value })
      history.write({ op: 'send', type: 'ok', id, at: [partition, Number(offset)] })
    } catch (caught) {
      const error = TidemarkError.from(caught)
      history.write({ op: 'send', type: endingOf(error), id, error: error.code })
    }
  }
  while (!stop.aborted) {
    if (open.size < WINDOW) {
      const sent: Promise<void> = send(nextId()).finally(() => open.delete(sent))
      open.add(sent)
    }
    await sleep(1000 / settings.recordsPerSecond, stop)
  }
  await Promise.all(open)
  await producer.close()
}

/** Follows the topic. When told to stop it goes on to the end as it is then. */
async function read({ tm, history, stop }: Life): Promise<void> {
  const start = settings.life === 1 ? 'earliest' : { last: 200 }
  const consumer = tm.consumer(settings.topic, { start })
  const next = new Map<number, number>()
  const isAtEnd = (ends: readonly At[]): boolean => ends.every(([partition, end]) => (next.get(partition) ?? 0) >= end)
  const close = (): void => void consumer.close()
  const finish = async (): Promise<void> => {
    const giveUpAtMs = performance.now() + END_MS
    const ends = (await tm.admin.offsets(settings.topic)).map(({ partition, highWatermark }): At => [partition, Number(highWatermark)])
    while (!isAtEnd(ends) && performance.now() < giveUpAtMs) await sleep(50)
  }
  stop.addEventListener('abort', () => void finish().then(close, close), { once: true })
  for await (const { partition, messages } of consumer.batches()) {
    history.write({ op: 'poll', partition, records: messages.map(({ offset, value }) => [Number(offset), String(value)]) })
    next.set(partition, Number(messages.at(-1)?.offset ?? -1n) + 1)
  }
}

/** A member that says itself after each batch how far it is; it does not wait for the answer, which a busy cluster may take its time with. */
async function joinByHand({ tm, history, stop, nextId }: Life): Promise<void> {
  const member = tm.consumer(settings.topic, { group: settings.group, start: 'earliest', sessionTimeout: '3s', signal: stop })
  member.on('assigned', ({ partitions }) => {
    for (const { partition, offset, epoch } of partitions) history.write({ op: 'take', at: [partition, Number(offset)], epoch })
  })
  for await (const batch of member.batches()) {
    const { partition, epoch, messages } = batch
    history.write({ op: 'poll', partition, epoch, records: messages.map(({ offset, value }) => [Number(offset), String(value)]) })
    const id = nextId()
    history.write({ op: 'commit', type: 'invoke', id, at: [partition, Number(messages.at(-1)?.offset ?? -1n) + 1], epoch })
    void batch.commit().then(
      () => history.write({ op: 'commit', type: 'ok', id }),
      (error: unknown) => history.write({ op: 'commit', type: 'info', id, error: TidemarkError.from(error).code }),
    )
  }
}

/** A member whose offsets are committed by the clock. */
async function joinWithTimer({ tm, history, stop }: Life): Promise<void> {
  const member = tm.consumer(settings.topic, {
    group: settings.group,
    start: 'earliest',
    sessionTimeout: '3s',
    commit: { interval: '500ms' },
    signal: stop,
  })
  member.on('assigned', ({ partitions }) => {
    for (const { partition, offset, epoch } of partitions) history.write({ op: 'take', at: [partition, Number(offset)], epoch })
  })
  for await (const { partition, epoch, offset, value } of member)
    history.write({ op: 'poll', partition, epoch, records: [[Number(offset), String(value)]] })
}

/** Asks again and again where partitions begin and end, and what the groups have committed. */
async function look({ tm, history, stop, nextId }: Life): Promise<void> {
  const ask = async (whats: readonly Looked[], answer: () => Promise<readonly (readonly At[])[]>): Promise<void> => {
    const ids = whats.map((what) => {
      const id = nextId()
      history.write({ op: 'look', type: 'invoke', id, what })
      return id
    })
    // No leader for longer than a call waits is no mistake.
    const answers = await answer().catch((error: unknown) => {
      if (!TidemarkError.from(error).retriable) throw error
      return []
    })
    for (const [index, at] of answers.entries()) history.write({ op: 'look', type: 'ok', id: ids[index] ?? -1, at })
  }
  while (!stop.aborted) {
    await ask(['start', 'end'], async () => {
      const offsets = await tm.admin.offsets(settings.topic, { signal: stop })
      return [
        offsets.map(({ partition, earliest }): At => [partition, Number(earliest)]),
        offsets.map(({ partition, highWatermark }): At => [partition, Number(highWatermark)]),
      ]
    })
    for (const group of settings.groups)
      await ask([{ group }], async () => {
        const offsets = await tm.admin.groups.offsets(group, { signal: stop })
        return [offsets.map(({ partition, offset }): At => [partition, Number(offset)])]
      })
    // What is kept of a partition; no answer is none.
    const recent = await tm.admin.offsets(RECENT_TOPIC, { signal: stop }).catch(() => [])
    for (const { partition, earliest, highWatermark } of recent)
      history.write({ op: 'kept', partition, start: Number(earliest), end: Number(highWatermark) })
    await sleep(LOOK_EVERY_MS, stop)
  }
}
