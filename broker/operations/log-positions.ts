/** Where the logs of partitions begin and end, and when records were written: asked of their leaders, wherever these are. */
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { type ListOffsetsPartition, LogService, OffsetPosition, type PartitionOffset } from '../../protocol/gen/tidemark/v1/log.ts'
import type { Broker } from '../broker.ts'
import type { LogPosition } from '../groups/lag.ts'
import { listOffsets } from './logs.ts'

/** A leader that does not answer is not waited for longer: the others' answers are worth something without it. */
const ASK_TIMEOUT_MS = 2000

/** Partitions in one question: three answers each. */
const PARTITIONS_PER_CALL = 3000

/** What to look up beside beginning and end. */
export type Lookup = Exclude<ListOffsetsPartition['target'], undefined>

export interface Question {
  readonly topic: string
  readonly partition: number
  readonly lookup: Lookup
}

/** One answer per question, in order: an error where the leader could not be asked. */
export async function askPositions(broker: Broker, questions: readonly Question[]): Promise<(LogPosition | TidemarkError)[]> {
  const answers = new Array<LogPosition | TidemarkError>(questions.length)
  const byLeader = new Map<number, number[]>()
  questions.forEach(({ topic, partition }, index) => {
    const leader = broker.view.image.topics.get(topic)?.partitions[partition]?.leader ?? -1
    byLeader.set(leader, [...(byLeader.get(leader) ?? []), index])
  })
  await Promise.all(
    [...byLeader].flatMap(([leader, indexes]) =>
      Array.from({ length: Math.ceil(indexes.length / PARTITIONS_PER_CALL) }, async (_, call) => {
        const asked = indexes.slice(call * PARTITIONS_PER_CALL, (call + 1) * PARTITIONS_PER_CALL)
        const found = await askLeader(
          broker,
          leader,
          asked.map((index) => questions[index] as Question),
        )
        asked.forEach((index, place) => {
          answers[index] = found[place] as LogPosition | TidemarkError
        })
      }),
    ),
  )
  return answers
}

async function askLeader(broker: Broker, leader: number, questions: readonly Question[]): Promise<(LogPosition | TidemarkError)[]> {
  const request = { partitions: questions.flatMap(entriesOf) }
  try {
    if (leader < 0) throw new TidemarkError('LEADER_NOT_AVAILABLE', 'the partition has no leader at the moment')
    const { partitions } =
      leader === broker.config.nodeId
        ? await listOffsets(broker, request)
        : await broker.nodeCalls.ask(leader, LogService.listOffsets, request, ASK_TIMEOUT_MS)
    return questions.map((_, place) => positionOf(partitions.slice(place * 3, place * 3 + 3)))
  } catch (error) {
    const known = TidemarkError.from(error)
    return questions.map(() => known)
  }
}

function entriesOf({ topic, partition, lookup }: Question): ListOffsetsPartition[] {
  const targets: Lookup[] = [
    { $case: 'position', value: OffsetPosition.EARLIEST },
    { $case: 'position', value: OffsetPosition.LATEST },
    lookup,
  ]
  return targets.map((target) => ({ topic, partition, leaderEpochPlusOne: 0, target }))
}

function positionOf(answers: readonly PartitionOffset[]): LogPosition | TidemarkError {
  const failed = answers.find(({ error }) => error !== undefined)?.error
  if (failed !== undefined) return fromErrorDetail(failed)
  const [earliest, latest, looked] = answers
  if (earliest === undefined || latest === undefined || looked === undefined)
    return new TidemarkError('INTERNAL', 'the leader answered too little')
  return {
    logStartOffset: earliest.offset,
    highWatermark: latest.offset,
    found: looked.found ? { offset: looked.offset, timestampMs: looked.timestampMs } : undefined,
  }
}
