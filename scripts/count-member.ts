/**
 * A member of the group of `group-input.ts`, as a process: counts package stanzas per section, effectively once.
 *
 *   node scripts/run.mjs scripts/count-member.ts <address> <database> <name>
 *
 * What happens to it goes to standard output, a line of JSON each. SIGTERM: it leaves in order.
 */
import { connect } from '../client/index.ts'
import { CountStore } from './count-store.ts'
import { sectionOf } from './package-index.ts'

const [address = '', path = '', name = ''] = process.argv.slice(2)
const say = (event: string, fields: object = {}): void => void process.stdout.write(`${JSON.stringify({ name, event, ...fields })}\n`)

const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())

const store = new CountStore(path)
await using tm = await connect(address, { clientId: name, connectTimeout: '60s' })
const member = tm.consumer('packages', {
  group: 'counters',
  start: 'earliest',
  delivery: 'effectively-once',
  offsets: { load: ({ partition, epoch }) => store.load(partition, epoch) },
  sessionTimeout: '5s',
  // Few batches ahead: many processes on one machine.
  prefetchBytes: '256KiB',
  fetchBytes: '128KiB',
  signal: stop.signal,
})
member.on('assigned', ({ partitions }) => say('assigned', { partitions: partitions.map(({ partition }) => partition) }))
member.on('revoked', ({ partitions }) => say('revoked', { partitions: partitions.map(({ partition }) => partition) }))
member.on('lost', ({ partitions, error }) => say('lost', { partitions: partitions.map(({ partition }) => partition), code: error.code }))
member.on('idle', ({ isIdle }) => say(isIdle ? 'idle' : 'needed'))
try {
  for await (const { partition, epoch, messages } of member.batches()) {
    const [first, last] = [messages[0], messages.at(-1)]
    if (first === undefined || last === undefined) continue
    const sections = new Map<string, number>()
    for (const { value } of messages) {
      const section = sectionOf(String(value))
      sections.set(section, (sections.get(section) ?? 0) + 1)
    }
    const isTaken = store.add({ partition, epoch, member: member.memberId, offset: first.offset, nextOffset: last.offset + 1n, sections })
    if (!isTaken) say('refused', { partition, epoch })
  }
} catch (error) {
  if (!stop.signal.aborted) {
    say('failed', { error: String(error) })
    process.exitCode = 1
  }
} finally {
  await member.close()
  store.close()
}
