/**
 * Real input, end to end: the Debian package index goes through a node and comes back.
 *
 *   node scripts/run.mjs scripts/real-input.ts [--rounds 100]
 *
 * Every stanza is produced with its package name as key into six partitions and consumed again: each exactly
 * once, equal to the byte, those of one key in one partition and in order. With `--rounds N` the same is done N times over while the node is
 * killed (kill -9) in the middle of producing and started again; besides, offsets must have no gap.
 * Prints counts and checksums; ends with 1 when anything is wrong.
 */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { connect, type Tidemark } from '../client/index.ts'
import { NodeProcess } from './node-process.ts'
import { readPackageIndex, type Stanza } from './package-index.ts'

const PARTITIONS = 6

const { values: flags } = parseArgs({ options: { rounds: { type: 'string', default: '0' }, stanzas: { type: 'string', default: '0' } } })

/** A round of the kill loop takes this many stanzas, so that a hundred rounds end in minutes. */
const STANZAS_PER_ROUND = 3000

const everything = readPackageIndex()
const stanzas = Number(flags.stanzas) > 0 ? everything.slice(0, Number(flags.stanzas)) : everything
const dataDir = mkdtempSync(join(tmpdir(), 'tidemark-real-input-'))
try {
  await once(stanzas)
  if (Number(flags.rounds) > 0) await killLoop(Number(flags.rounds))
} finally {
  rmSync(dataDir, { recursive: true, force: true })
}

async function once(input: readonly Stanza[]): Promise<void> {
  const node = await NodeProcess.start(join(dataDir, 'once'))
  try {
    const tm = await connect(node.address)
    await tm.admin.createTopic('packages', { partitions: PARTITIONS })
    const startedMs = performance.now()
    await produceAll(tm, 'packages', input)
    const producedMs = performance.now()
    const problems = await check(tm, 'packages', input)
    const checkedMs = performance.now()
    report(
      'once',
      input,
      problems,
      `produced in ${Math.round(producedMs - startedMs)} ms, consumed and compared in ${Math.round(checkedMs - producedMs)} ms`,
    )
    await tm.close()
  } finally {
    await node.stop()
  }
}

/** One node, one topic per round; the producer lives through every kill. */
async function killLoop(rounds: number): Promise<void> {
  const node = await NodeProcess.start(join(dataDir, 'kill'))
  let killCount = 0
  try {
    const tm = await connect(node.address)
    for (let round = 0; round < rounds; round++) {
      const topic = `packages-${round}`
      const input = slice(stanzas, round)
      await tm.admin.createTopic(topic, { partitions: PARTITIONS })
      let acknowledgedCount = 0
      const killAt = Math.floor(input.length * (0.1 + 0.8 * ((round * 0.618) % 1)))
      const killed = Promise.withResolvers<void>()
      let isKilling = false
      const produced = produceAll(tm, topic, input, () => {
        acknowledgedCount++
        if (acknowledgedCount < killAt || isKilling) return
        isKilling = true
        killCount++
        node
          .stop('SIGKILL')
          .then(() => node.start())
          .then(killed.resolve, killed.reject)
      })
      await Promise.all([produced, killed.promise])
      const problems = await check(tm, topic, input)
      report(`round ${round + 1}/${rounds}, killed after ${killAt} acknowledgements`, input, problems, '')
      await tm.admin.deleteTopic(topic)
    }
    await tm.close()
    console.log(`kill loop: ${rounds} rounds, ${killCount} kills, exit code ${process.exitCode ?? 0}`)
  } finally {
    await node.stop()
  }
}

function slice(input: readonly Stanza[], round: number): Stanza[] {
  const start = (round * STANZAS_PER_ROUND) % Math.max(1, input.length - STANZAS_PER_ROUND)
  return input.slice(start, start + STANZAS_PER_ROUND)
}

/** Sends all stanzas, many at a time; resolves when every one is acknowledged. */
async function produceAll(tm: Tidemark, topic: string, input: readonly Stanza[], acknowledged: () => void = () => {}): Promise<void> {
  await using producer = tm.producer({ bufferBytes: '8MiB', batchBytes: '32KiB' })
  const WINDOW = 500
  for (let at = 0; at < input.length; at += WINDOW) {
    await Promise.all(
      input.slice(at, at + WINDOW).map(async ({ key, text }) => {
        await producer.send(topic, { key, value: text })
        acknowledged()
      }),
    )
  }
}

/** Compares what the topic holds with the input. Returns what is wrong. */
async function check(tm: Tidemark, topic: string, input: readonly Stanza[]): Promise<string[]> {
  const problems: string[] = []
  const wanted = Map.groupBy(input, ({ key }) => key)
  const positions = new Map<string, number>()
  const partitionOf = new Map<string, number>()
  const nextOffset = new Map<number, bigint>()
  let count = 0
  for await (const { messages } of tm.consumer(topic, { start: 'earliest', end: 'now' }).batches()) {
    for (const message of messages) {
      count++
      const key = String(message.key)
      const expectedOffset = nextOffset.get(message.partition) ?? 0n
      if (message.offset !== expectedOffset)
        problems.push(`partition ${message.partition}: offset ${message.offset} follows ${expectedOffset - 1n}`)
      nextOffset.set(message.partition, message.offset + 1n)
      if ((partitionOf.get(key) ?? message.partition) !== message.partition) problems.push(`${key} is in two partitions`)
      partitionOf.set(key, message.partition)
      const position = positions.get(key) ?? 0
      positions.set(key, position + 1)
      if (wanted.get(key)?.[position]?.text !== String(message.value))
        problems.push(`${key}: copy ${position} is not what was sent at that place`)
    }
  }
  if (count !== input.length) problems.push(`${input.length} stanzas were acknowledged, ${count} were read`)
  return problems
}

function report(what: string, input: readonly Stanza[], problems: readonly string[], times: string): void {
  const hash = createHash('sha256')
  let bytes = 0
  for (const { text } of input) {
    hash.update(text)
    bytes += Buffer.byteLength(text)
  }
  const verdict =
    problems.length === 0
      ? 'all there, once, equal and in order'
      : `WRONG: ${problems.slice(0, 5).join('; ')} (${problems.length} problems)`
  console.log(
    `${what}: ${input.length} stanzas, ${bytes} bytes, sha256 ${hash.digest('hex').slice(0, 16)}: ${verdict}${times === '' ? '' : `; ${times}`}`,
  )
  if (problems.length > 0) process.exitCode = 1
}
