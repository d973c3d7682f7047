/** A node that may have 256 MiB, and producers that push large records into a thousand partitions as fast as they can. */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { metricOf, residentBytes, showFigures, usePlace } from '../support.ts'

const MIB = 1024 * 1024
const LIMIT_BYTES = 256 * MIB
const PARTITIONS = 1000
const PRODUCERS = 4
/** Of 1 MiB each. */
const RECORDS = 128
/** What the process takes that no setting bounds, on the heap of V8 and beside it. */
const HEAP_MIB = 96

/** Settings of a node for so little. */
const SETTINGS = [
  'limits.request_bytes=8MiB',
  'limits.produce_inflight_bytes=24MiB',
  'limits.produce_inflight_bytes_per_connection=16MiB',
  'limits.produce_inflight_bytes_per_partition=8MiB',
  'limits.tail_cache=8MiB',
  'limits.fetch_bytes=2MiB',
  'limits.flow_control_window=1MiB',
  'limits.session_memory_mb=32',
].flatMap((setting) => ['--set', setting])

const place = usePlace()

/** A control group of the kernel that may have so much; undefined where this process may not make one. */
function makeGroup(): string | undefined {
  for (const [root, limit] of [
    ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes'],
    ['/sys/fs/cgroup', 'memory.max'],
  ] as const) {
    const path = join(root, `tidemark-faults-${process.pid}`)
    try {
      mkdirSync(path)
    } catch {
      continue
    }
    try {
      writeFileSync(join(path, limit), String(LIMIT_BYTES))
      // Empty once the node is gone, which was begun later and so ends before.
      place.after(() => rmdirSync(path))
      return path
    } catch {
      rmdirSync(path)
    }
  }
  return undefined
}

/** How often the kernel ended a process of the group for its memory. */
function killCount(group: string): number {
  for (const file of ['memory.oom_control', 'memory.events']) {
    try {
      return Number(/^oom_kill (\d+)$/m.exec(readFileSync(join(group, file), 'utf8'))?.[1])
    } catch {
      // The other version of control groups has the other file.
    }
  }
  return Number.NaN
}

it('E06 a node of 256 MiB with a thousand partitions holds producers of large records back, says so, and is not killed', async (context) => {
  if (process.platform !== 'linux') return context.skip('reads memory from /proc')
  // Where there are no control groups, the peak of what is resident has to do.
  const group = makeGroup()
  const node = await place.node(join(await place.directory(), 'data'), SETTINGS)
  node.environment = { NODE_OPTIONS: `--max-old-space-size=${HEAP_MIB}` }
  if (group !== undefined) node.wrapper = ['sh', '-c', `echo $$ > ${group}/cgroup.procs && exec "$0" "$@"`]
  await node.start()
  const admin = await place.connect(node.address)
  await admin.admin.createTopic('large', { partitions: PARTITIONS, configs: { 'max.message.bytes': '2MiB' } })

  const value = Buffer.alloc(MIB, 7)
  const clients = await Promise.all(Array.from({ length: PRODUCERS }, () => place.connect(node.address)))
  const died = node.ended().then((code) => Promise.reject(new Error(`the node ended (${code}): ${node.stderr.slice(-500)}`)))
  died.catch(() => {})
  const sending = Promise.all(
    clients.map(async (tm, at) => {
      const producer = tm.producer({ deliveryTimeout: '5m', maxBlock: '5m' })
      const mine = Array.from({ length: RECORDS / PRODUCERS }, (_, n) => (n * PRODUCERS + at) * 7)
      return (await Promise.all(mine.map((n) => producer.send('large', { value, partition: n % PARTITIONS })))).length
    }),
  )
  // One that the kernel has ended would be waited for in vain.
  const sent = await Promise.race([sending, died])
  expect(sent.reduce((sum, count) => sum + count, 0)).toBe(RECORDS)
  const refused = await metricOf(node.address, 'tidemark_produce_refused_total')
  expect(refused).toBeGreaterThan(0)
  let read = 0
  for await (const { raw } of admin.consumer('large', { start: 'earliest', end: 'now' })) {
    expect(raw?.length).toBe(MIB)
    read++
  }
  expect(read).toBe(RECORDS)
  expect(node.isRunning).toBe(true)
  if (group !== undefined) expect(killCount(group)).toBe(0)
  const { peak } = residentBytes(node.pid)
  expect(peak).toBeLessThan(LIMIT_BYTES)
  const where = group === undefined ? 'without control groups' : 'in a control group of 256 MiB'
  showFigures(
    context,
    `${RECORDS} MiB into ${PARTITIONS} partitions, ${refused} refused for the moment, peak ${Math.round(peak / MIB)} MiB ${where}`,
  )
}, 300_000)
