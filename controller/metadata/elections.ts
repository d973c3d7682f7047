/** Elections that an operator asks for. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import {
  type ElectLeaderResult,
  type ElectLeadersRequest,
  type ElectLeadersResponse,
  ElectionType,
} from '../../protocol/gen/tidemark/v1/cluster.ts'
import type { MetadataRecord, PartitionRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { type Decision, decideEntry, repeatChecker } from './decision.ts'
import type { MetadataImage, PartitionMetadata, TopicMetadata } from './image.ts'
import { anyTopic, existingPartition } from './lookup.ts'
import { changePartition, type Election, type NodeStates, nodeStates } from './partition-change.ts'

interface Candidate {
  readonly name: string
  readonly partition: number
}

export function electLeaders(image: MetadataImage, { type, topics }: ElectLeadersRequest): Decision<ElectLeadersResponse> {
  const election = electionOf(type)
  const nodes = nodeStates(image)
  const records: MetadataRecord[] = []
  const elect = ({ name, partition }: Candidate): ElectLeaderResult => {
    const { record, state } = electLeader(anyTopic(image, name), partition, election, nodes)
    records.push(record)
    return { topic: name, partition, error: undefined, leader: state.leader }
  }
  if (topics.length === 0) {
    const needy = [...image.topics.values()].flatMap((topic) => needyPartitions(topic, election, nodes))
    const elected = needy.map((candidate) => elect(candidate))
    return { records, response: { partitions: elected } }
  }
  const named = topics.flatMap(({ topic, partitions }) => {
    const numbers = partitions.length > 0 ? partitions : [...(image.topics.get(topic)?.partitions.keys() ?? [0])]
    return numbers.map((partition): Candidate => ({ name: topic, partition }))
  })
  const keyOf = ({ name, partition }: Candidate): string => `${name}-${partition}`
  const refuseRepeated = repeatChecker('partition', named.map(keyOf))
  const partitions = named.map((candidate) =>
    decideEntry(
      () => {
        refuseRepeated(keyOf(candidate))
        return elect(candidate)
      },
      (error) => ({
        topic: candidate.name,
        partition: candidate.partition,
        error,
        leader: image.topics.get(candidate.name)?.partitions[candidate.partition]?.leader ?? -1,
      }),
    ),
  )
  return { records, response: { partitions } }
}

/** Whether the first replica does not lead, and could. */
export function wantsPreferred({ replicas: [preferred], isr, leader }: PartitionMetadata, { mayLead }: NodeStates): boolean {
  return preferred !== undefined && leader !== preferred && isr.includes(preferred) && mayLead(preferred)
}

function needyPartitions(topic: TopicMetadata, election: Election, nodes: NodeStates): Candidate[] {
  return topic.partitions.flatMap((state, partition) => {
    const isNeedy = election === 'preferred' ? wantsPreferred(state, nodes) : state.leader === -1 && state.replicas.some(nodes.mayLead)
    return isNeedy ? { name: topic.name, partition } : []
  })
}

/** Throws when there is nothing to do, or nobody to lead. */
function electLeader(
  topic: TopicMetadata,
  partition: number,
  election: Election,
  nodes: NodeStates,
): { record: MetadataRecord; state: PartitionRecord } {
  const where = `${topic.name}-${partition}`
  const { leader, replicas } = existingPartition(topic, partition)
  if (election === 'preferred' ? leader === replicas[0] : leader !== -1)
    throw new TidemarkError('ELECTION_NOT_NEEDED', `node ${leader} leads ${where}, as it should`)
  const record = changePartition(topic, partition, { election }, nodes)
  const state = record?.record?.$case === 'partition' ? record.record.value : undefined
  const isElected = state !== undefined && (election === 'preferred' ? state.leader === state.replicas[0] : state.leader >= 0)
  if (record === undefined || !isElected)
    throw new TidemarkError(
      'ELIGIBLE_LEADERS_NOT_AVAILABLE',
      election === 'preferred'
        ? `node ${replicas[0]} is not in sync for ${where}, or about to stop`
        : `of the nodes with a replica of ${where} (${replicas.join(', ')}) none is alive`,
    )
  return { record, state }
}

function electionOf(type: ElectionType): Election {
  if (type === ElectionType.PREFERRED) return 'preferred'
  if (type === ElectionType.UNCLEAN) return 'unclean'
  throw new TidemarkError('INVALID_REQUEST', 'there is no such type of election')
}
