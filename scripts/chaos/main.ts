/**
 * Chaos: three nodes as processes, clients as processes, faults from a seed; the history of it all is checked.
 *
 *   npm run chaos -- [--minutes 5] [--faults 0] [--seed 1] [--kinds kill,isolate] [--out directory]
 *     [--network namespaces] [--producers 5] [--readers 3] [--members 3] [--rate 40]
 *
 * `--network proxy`, the default, needs no rights; `namespaces` has real packets, and needs root.
 * Ends when so many minutes and so many faults are over. Prints a table, writes `result.json` beside the histories, and ends with 1 if there is an anomaly.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { connect } from '../../client/index.ts'
import { sleep } from './client-process.ts'
import { clockFile, mountSmallDisk, movableClock, unmountSmallDisk } from './disk-faults.ts'
import { FAULTS, heal } from './faults.ts'
import { noteFigures } from '../figures.ts'
import { HistoryFile, type Latest, type Seen } from './history.ts'
import { NamespaceNetwork } from './namespaces.ts'
import { Nemesis } from './nemesis.ts'
import { ProxyNetwork } from './proxy-network.ts'
import { faultsOf, judge, print } from './report.ts'
import { LATEST_TOPIC, PASSING_PREFIX, PASSING_SETTING, TOPIC } from './topics.ts'
import { GROUPS, nameOfNode, until, World } from './world.ts'

const { values: flags } = parseArgs({
  options: {
    minutes: { type: 'string', default: '0' },
    faults: { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    kinds: { type: 'string', default: FAULTS.map(({ kind }) => kind).join() },
    out: { type: 'string' },
    network: { type: 'string', default: 'proxy' },
    producers: { type: 'string', default: '5' },
    readers: { type: 'string', default: '3' },
    members: { type: 'string', default: '3' },
    rate: { type: 'string', default: '40' },
  },
})

/** How long everything may take to be whole again, or read to the end. Loaded machines need more than a cluster does. */
const PATIENCE_MS = 60_000
const FINAL_RETRY_MS = 10_000
const FINAL_TRIES = 6

const seed = Number(flags.seed)
const minutes = Number(flags.minutes) || (Number(flags.faults) > 0 ? 0 : 5)
const directory = resolve(flags.out ?? mkdtempSync(join(tmpdir(), `tidemark-chaos-${seed}-`)))
const skipped = new Map<string, string>()
let kinds = flags.kinds.split(',')
for (const kind of kinds)
  if (!FAULTS.some((fault) => fault.kind === kind))
    throw new Error(`no fault ${kind}; there are ${FAULTS.map((fault) => fault.kind).join()}`)

function skip(kind: string, why: string): void {
  skipped.set(kind, why)
  kinds = kinds.filter((one) => one !== kind)
}

async function run(): Promise<void> {
  const network = flags.network === 'namespaces' ? NamespaceNetwork.open() : new ProxyNetwork()
  if (typeof network === 'string') return console.log(`skipped: ${network}`)
  // Whatever ends us removes the network; the nodes end with us too, and clients notice by themselves.
  process.on('exit', () => void network.close())
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))
  for (const [kind, why] of network.skips) if (kinds.includes(kind)) skip(kind, why)
  mkdirSync(directory, { recursive: true })
  console.log(`seed ${seed}, histories in ${directory}`)
  const startedMs = performance.now()
  let isMounted = false
  if (kinds.includes('disk-full')) {
    const why = mountSmallDisk(directory)
    isMounted = why === undefined
    if (why !== undefined) skip('disk-full', why)
    else process.on('exit', () => unmountSmallDisk(directory))
  }
  if (kinds.includes('clock') && movableClock(join(directory, 'clock')) === undefined) skip('clock', 'needs libfaketime')
  const environment = (nodeId: number): Record<string, string> =>
    kinds.includes('clock') ? (movableClock(clockFile(directory, nodeId)) ?? {}) : {}
  const crowd = {
    producers: Number(flags.producers),
    readers: Number(flags.readers),
    members: Number(flags.members),
    recordsPerSecond: Number(flags.rate),
  }
  const world = await World.begin(directory, network, crowd, environment)
  try {
    const nemesis = new Nemesis(world, { seed, kinds, minutes, faults: Number(flags.faults), patienceMs: PATIENCE_MS })
    const trouble = await nemesis.whole()
    if (trouble !== undefined) throw new Error(`it does not even begin: ${trouble}`)
    await checkNetwork(world)
    await nemesis.run((text) => console.log(`${Math.round((performance.now() - startedMs) / 1000)} s, ${text}`))
    await finish(world)
  } finally {
    await world.end()
    if (isMounted) unmountSmallDisk(directory)
  }
  const result = judge(directory, {
    seed,
    network: flags.network,
    minutes: Math.round((performance.now() - startedMs) / 6000) / 10,
    finishedAt: new Date().toISOString(),
  })
  print(result, skipped)
  const { acknowledged, checked, anomalies } = result.checked
  noteFigures(flags.network === 'namespaces' ? 'chaos-namespaces' : 'chaos', {
    faults: faultsOf(result.kinds),
    acknowledged,
    checked,
    anomalies: anomalies.length,
  })
  if (anomalies.length > 0) {
    console.log(`to look again: npm run chaos:check ${directory}`)
    process.exitCode = 1
  } else if (!isMounted) rmSync(join(directory, 'nodes'), { recursive: true, force: true })
}

/** A run in which nothing went through the network would prove nothing. */
async function checkNetwork(world: World): Promise<void> {
  const names = [...world.nodeIds.map(nameOfNode), ...world.clients.map(({ name }) => name)]
  if (!(await until(async () => world.network.silent(names).length === 0, PATIENCE_MS)))
    throw new Error(`these do not go through the network: ${world.network.silent(names).join()}`)
}

/** All is well; producers stop, groups and readers come to the end, and everything is read again. */
async function finish(world: World): Promise<void> {
  await heal(world)
  await Promise.all(world.clientsOf('producer', 'keeper', 'registrar').map((client) => client.stop('SIGTERM')))
  const ends = await untilKnown(() => world.highWatermarks())
  await until(async () => {
    const committed = await Promise.all(GROUPS.map((group) => world.admin.admin.groups.offsets(group)))
    return committed.every((offsets) =>
      [...ends].every(([partition, end]) => end === 0 || offsets.some((one) => one.partition === partition && Number(one.offset) >= end)),
    )
  }, PATIENCE_MS)
  world.nemesis.write({ op: 'drained' })
  await Promise.all(world.clients.map((client) => client.stop('SIGTERM')))
  for (let attempt = 1; attempt <= FINAL_TRIES; attempt++) {
    if (await readAll(world, attempt, ends).catch(() => false)) return
    await sleep(FINAL_RETRY_MS)
  }
}

async function untilKnown<T>(ask: () => Promise<T>): Promise<T> {
  const giveUpAtMs = performance.now() + PATIENCE_MS
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (performance.now() > giveUpAtMs) throw error
      await sleep(200)
    }
  }
}

/** By a client that knows nothing yet. True when it got as far as everybody knew. */
async function readAll(world: World, attempt: number, ends: ReadonlyMap<number, number>): Promise<boolean> {
  const history = new HistoryFile(world.histories, `final.${attempt}`)
  const tm = await connect(world.cluster.addresses)
  const reached = new Map<number, number>()
  try {
    for await (const { partition, messages } of tm.consumer(TOPIC, { start: 'earliest', end: 'now' }).batches()) {
      const records = messages.map(({ offset, value }): Seen => [Number(offset), String(value)])
      history.write({ op: 'final', partition, records })
      reached.set(partition, (records.at(-1)?.[0] ?? -1) + 1)
    }
    for await (const { partition, messages } of tm.consumer(LATEST_TOPIC, { start: 'earliest', end: 'now' }).batches()) {
      const records = messages.map(({ offset, key, value }): Latest => [Number(offset), String(key), String(value).trimEnd()])
      history.write({ op: 'latest', partition, records })
    }
    const passing = (await tm.admin.listTopics()).filter(({ name }) => name.startsWith(PASSING_PREFIX))
    history.write({ op: 'topics', found: Object.fromEntries(passing.map(({ name, configs }) => [name, configs[PASSING_SETTING] ?? ''])) })
  } finally {
    await tm.close()
    history.close()
  }
  return [...ends].every(([partition, end]) => (reached.get(partition) ?? 0) >= end)
}

await run()
// Everything is closed. Left to itself, Node went round in circles once while it put its handles away (after connections had been reset and left half open).
process.exit()
