import { describe, expect, it } from 'vitest'
import { EMPTY_IMAGE } from '../../controller/metadata/image.ts'
import { checkFeatureLevel, FEATURE_LEVEL, nameCluster, registerNode } from '../../controller/metadata/nodes.ts'
import { allocateProducerIds, PRODUCER_ID_BLOCK } from '../../controller/metadata/producer-ids.ts'
import { createTopics } from '../../controller/metadata/topics.ts'
import type { RegisterNodeRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { clusterOf, commit, createContext, createRequest, idOf, requestOf, runOf } from './fixtures.ts'

describe('nameCluster', () => {
  it('names a cluster once', () => {
    const image = commit(EMPTY_IMAGE, nameCluster(EMPTY_IMAGE, idOf(5)))
    expect(image).toMatchObject({ clusterId: idOf(5), featureLevel: FEATURE_LEVEL })
    expect(nameCluster(image, idOf(6)).records).toEqual([])
  })

  it('does not name one whose metadata lost its beginning', () => {
    expect(() => nameCluster({ ...EMPTY_IMAGE, version: 3 }, idOf(5))).toThrow(expect.objectContaining({ code: 'CORRUPT_LOG' }))
  })
})

describe('checkFeatureLevel', () => {
  it('refuses the metadata of a newer version', () => {
    checkFeatureLevel(clusterOf(0))
    expect(() => checkFeatureLevel({ ...clusterOf(0), featureLevel: FEATURE_LEVEL + 1 })).toThrow(
      expect.objectContaining({ code: 'DATA_DIR_INVALID' }),
    )
  })
})

describe('registerNode', () => {
  it('registers a node, and again when it comes back from elsewhere', () => {
    const image = clusterOf(1)
    const back = requestOf(1, { incarnationId: idOf(3), host: 'elsewhere', port: 9000 })
    const epoch = image.version + 1
    expect(
      commit(
        image,
        registerNode(image, back, () => false),
      ).nodes.get(1),
    ).toMatchObject({
      incarnationId: idOf(3),
      host: 'elsewhere',
      port: 9000,
      nodeEpoch: epoch,
      fenced: true,
    })
  })

  it('refuses a node that comes with another data directory when it alone had records', () => {
    const image = commit(clusterOf(1), createTopics(clusterOf(1), createRequest('orders'), createContext()))
    const wiped = requestOf(1, { directoryId: idOf(4) })
    expect(() => registerNode(image, wiped, () => false)).toThrow(
      expect.objectContaining({ code: 'DATA_DIR_INVALID', message: expect.stringContaining(idOf(4)) }),
    )
  })

  const wrong: readonly (readonly [string, Partial<RegisterNodeRecord>])[] = [
    ['a negative id', { nodeId: -1 }],
    ['an id that does not fit', { nodeId: 2 ** 31 }],
    ['a malformed incarnation id', { incarnationId: 'x' }],
    ['a malformed directory id', { directoryId: '' }],
    ['no host', { host: '' }],
    ['an endless host', { host: 'x'.repeat(254) }],
    ['port 0', { port: 0 }],
    ['a port that does not exist', { port: 65_536 }],
    ['an endless rack', { rack: 'x'.repeat(257) }],
    ['an endless version', { version: 'x'.repeat(257) }],
    ['no roles', { roles: [] }],
    ['an unknown role', { roles: ['broker', 'king'] }],
    ['a role twice', { roles: ['broker', 'broker'] }],
  ]
  it.each(wrong)('refuses a node with %s', (_what, changes) => {
    expect(() => registerNode(clusterOf(0), requestOf(1, changes), () => false)).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    )
  })
})

describe('allocateProducerIds', () => {
  it('gives blocks that follow on each other', () => {
    let image = clusterOf(2)
    const blocks = [1, 2, 1].map((nodeId) => {
      const decision = allocateProducerIds(image, runOf(image, nodeId))
      image = commit(image, decision)
      return decision.response
    })
    expect(blocks).toEqual(
      [0, 1, 2].map((index) => ({
        error: undefined,
        firstProducerId: index * PRODUCER_ID_BLOCK,
        nextProducerId: (index + 1) * PRODUCER_ID_BLOCK,
      })),
    )
  })

  it('refuses a node it does not know, and ends before numbers do', () => {
    expect(() => allocateProducerIds(clusterOf(1), runOf(clusterOf(1), 2))).toThrow(expect.objectContaining({ code: 'FENCED_NODE_EPOCH' }))
    expect(() => allocateProducerIds({ ...clusterOf(1), nextProducerId: Number.MAX_SAFE_INTEGER - 5 }, runOf(clusterOf(1)))).toThrow(
      expect.objectContaining({ code: 'LIMIT_EXCEEDED' }),
    )
  })
})
