/** What a leader makes of the controller's answers about its in-sync replicas. */
import { describe, expect, it } from 'vitest'
import { IsrChanger, type IsrPartition } from '../../../broker/replication/isr-changer.ts'
import type { IsrProposal } from '../../../broker/replication/leader-state.ts'
import { toErrorDetail } from '../../../protocol/error-wire.ts'
import { type ErrorCode, TidemarkError } from '../../../protocol/errors.ts'
import type { AlterPartitionResult, AlterPartitionsResponse } from '../../../protocol/gen/tidemark/v1/controller.ts'
import { createDeferred } from '../../../runtime/deferred.ts'
import { createWorld, TOPIC_ID } from '../../log/support.ts'

const PROPOSAL: IsrProposal = { leaderEpoch: 4, partitionEpoch: 7, isr: [{ nodeId: 1, nodeEpoch: 0 }] }

type Answer = AlterPartitionResult['error'] | 'done'

class Rig {
  readonly world = createWorld()
  readonly told: string[] = []
  readonly asked: number[] = []
  readonly partition: IsrPartition
  readonly changer: IsrChanger
  #next = createDeferred<AlterPartitionsResponse>()

  constructor() {
    this.partition = {
      topic: 'orders',
      topicId: TOPIC_ID,
      partition: 0,
      isLeader: true,
      isRetired: false,
      leaderEpoch: 4,
      metadata: { partitionEpoch: 7 } as IsrPartition['metadata'],
      isrDecided: ({ partitionEpoch }) => void this.told.push(`decided ${partitionEpoch}`),
      isrRefused: () => void this.told.push('refused'),
    }
    this.changer = new IsrChanger({
      runtime: this.world.runtime,
      node: () => ({ clusterId: 'c', nodeId: 1, nodeEpoch: 3 }),
      controller: {
        ask: (async (_name: string, request: { partitions: readonly unknown[] }) => {
          this.asked.push(request.partitions.length)
          this.#next = createDeferred()
          return this.#next.promise
        }) as never,
      },
    })
  }

  async tick(ms = 0): Promise<void> {
    this.world.time.advance(ms)
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate)
  }

  async answer(what: Answer): Promise<void> {
    const state = what === 'done' ? ({ replicas: [1], isr: [1], partitionEpoch: 8 } as AlterPartitionResult['state']) : undefined
    const error = what === 'done' ? undefined : what
    this.#next.resolve({ error: undefined, partitions: [{ topicId: TOPIC_ID, partition: 0, error, state }] })
    await this.tick()
  }

  async lose(): Promise<void> {
    this.#next.reject(new TidemarkError('UNAVAILABLE', 'the answer is lost'))
    await this.tick()
  }
}

function refusal(code: ErrorCode): Answer {
  return toErrorDetail(new TidemarkError(code))
}

async function asking(): Promise<Rig> {
  const rig = new Rig()
  rig.changer.want(rig.partition, PROPOSAL)
  await rig.tick()
  expect(rig.asked).toEqual([1])
  return rig
}

describe('a change of the ISR', () => {
  it('is told to the partition when it is decided', async () => {
    const rig = await asking()
    await rig.answer('done')
    await rig.tick(1000)
    expect([rig.told, rig.asked]).toEqual([['decided 8'], [1]])
  })

  it('is given up when the controller refuses it', async () => {
    const rig = await asking()
    await rig.answer(refusal('INELIGIBLE_REPLICA'))
    await rig.tick(1000)
    expect([rig.told, rig.asked]).toEqual([['refused'], [1]])
  })

  it('K08 is asked for again when the answer was lost, and then not given up because it has been done already', async () => {
    const rig = await asking()
    await rig.lose()
    expect(rig.told).toEqual([])
    await rig.tick(100)
    expect(rig.asked).toEqual([1, 1])
    await rig.answer(refusal('INVALID_UPDATE_VERSION'))
    await rig.tick(1000)
    // The first request may have let the replica in: the metadata will say.
    expect([rig.told, rig.asked]).toEqual([[], [1, 1]])
  })

  it('is not given up by a leader that another has followed: the metadata will say', async () => {
    const rig = await asking()
    await rig.answer(refusal('FENCED_LEADER_EPOCH'))
    expect(rig.told).toEqual([])
  })

  it('is asked for again a little later when the controller has not heard of the present state yet', async () => {
    const rig = await asking()
    await rig.answer(refusal('NOT_CONTROLLER'))
    expect([rig.told, rig.asked]).toEqual([[], [1]])
    await rig.tick(100)
    expect(rig.asked).toEqual([1, 1])
    await rig.answer('done')
    expect(rig.told).toEqual(['decided 8'])
  })

  it('goes together with those of other partitions, one request at a time', async () => {
    const rig = await asking()
    const others = [1, 2].map((partition) => ({ ...rig.partition, partition }))
    for (const other of others) rig.changer.want(other, PROPOSAL)
    await rig.tick(1000)
    expect(rig.asked).toEqual([1])
    await rig.answer('done')
    await rig.tick()
    expect(rig.asked).toEqual([1, 2])
  })
})
