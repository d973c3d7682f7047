/** The cluster itself and its nodes. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { NodeHeartbeatRequest, RegisterNodeRequest, RegisterNodeResponse } from '../../protocol/gen/tidemark/v1/controller.ts'
import type { RegisterNodeRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { isUuid } from '../../protocol/ids.ts'
import type { Decision } from './decision.ts'
import type { MetadataImage, NodeMetadata } from './image.ts'
import { heartbeatRecords, replaceRun } from './node-states.ts'
import { isOlderDisk } from './older-disk.ts'

/** What this version writes and understands; a node that knows less refuses to go on. */
export const FEATURE_LEVEL = 1

/** Longest host name there is. */
const HOST_MAX_LENGTH = 253
const TEXT_MAX_LENGTH = 256
/** Networks a node may be reached by. */
const ALTERNATIVES_MAX = 8

const ROLES: readonly string[] = ['broker', 'controller']

/** The first record of a cluster's life. */
export function nameCluster(image: MetadataImage, clusterId: string): Decision<void> {
  if (image.clusterId !== '') return { records: [], response: undefined }
  if (image.version > 0)
    throw new TidemarkError('CORRUPT_LOG', `the metadata has ${image.version} batches, and none of them names the cluster`)
  return { records: [{ record: { $case: 'cluster', value: { clusterId, featureLevel: FEATURE_LEVEL } } }], response: undefined }
}

/** Throws `DATA_DIR_INVALID` when the metadata is of a version that came after this one. */
export function checkFeatureLevel(image: MetadataImage): void {
  if (image.featureLevel <= FEATURE_LEVEL) return
  throw new TidemarkError(
    'DATA_DIR_INVALID',
    `the metadata is of feature level ${image.featureLevel}, this version knows ${FEATURE_LEVEL}; start the version that wrote it, or a newer one`,
  )
}

/**
 * A node came up: fenced, until it has applied its own registration. Two processes cannot hold one data directory, so one that comes with
 * the directory of the node is the node, and whoever was it before is not any more. One that comes with another directory
 * is the node with another disk: the copies it had are not there, and are not taken for complete again before they were
 * fetched. Throws `DUPLICATE_NODE` while the other disk's process may be alive, `DATA_DIR_INVALID` when records would be lost with it, and
 * `DATA_DIR_OUTDATED` when the directory is an older image of itself.
 */
export function registerNode(
  image: MetadataImage,
  request: RegisterNodeRequest,
  isAlive: (nodeId: number) => boolean,
): Decision<RegisterNodeResponse> {
  const { clusterId, cleanShutdownEpoch: _epoch, imageOf: _image, ...registration } = request
  checkRegistration(registration)
  checkCluster(image, clusterId)
  const before = image.nodes.get(registration.nodeId)
  if (before !== undefined && isOlderDisk(before, registration))
    throw new TidemarkError(
      'DATA_DIR_OUTDATED',
      `node ${before.nodeId} comes with the data directory ${before.directoryId} as it was at start ${registration.starts}; start ${before.starts} of it is known`,
    )
  if (before !== undefined && before.directoryId !== registration.directoryId && !before.fenced && isAlive(before.nodeId))
    throw new TidemarkError(
      'DUPLICATE_NODE',
      `node ${before.nodeId} is alive with the data directory ${before.directoryId}, and another comes with ${registration.directoryId}`,
      { retryAfterMs: 500 },
    )
  const node = { ...registration, nodeEpoch: image.version + 1 }
  return {
    records: [...(before === undefined ? [] : replaceRun(image, before, request)), { record: { $case: 'registerNode', value: node } }],
    response: { error: undefined, clusterId: image.clusterId, nodeEpoch: node.nodeEpoch },
  }
}

/** A sign of life. `mayShutDown` is the caller's to say: it knows how far the other nodes are. */
export function heartbeat(image: MetadataImage, request: NodeHeartbeatRequest): Decision<void> {
  checkCluster(image, request.clusterId)
  const node = existingRun(image, request.nodeId, request.nodeEpoch)
  return { records: heartbeatRecords(image, node, request), response: undefined }
}

/** The node, if it is registered with this very epoch. Throws `FENCED_NODE_EPOCH`. */
export function existingRun(image: MetadataImage, nodeId: number, nodeEpoch: number): NodeMetadata {
  const node = image.nodes.get(nodeId)
  if (node?.nodeEpoch === nodeEpoch) return node
  throw new TidemarkError(
    'FENCED_NODE_EPOCH',
    node === undefined
      ? `node ${nodeId} is not part of the cluster`
      : `node ${nodeId} is registered with epoch ${node.nodeEpoch}, not ${nodeEpoch}`,
  )
}

/** Throws `INCONSISTENT_CLUSTER_ID`. */
export function checkCluster(image: MetadataImage, clusterId: string): void {
  if (clusterId === '' || clusterId === image.clusterId) return
  throw new TidemarkError('INCONSISTENT_CLUSTER_ID', `the node belongs to cluster ${clusterId}, and this is cluster ${image.clusterId}`)
}

function checkRegistration(node: Omit<RegisterNodeRecord, 'nodeEpoch'>): void {
  const { nodeId, incarnationId, directoryId, host, port, alternatives, rack, version, roles } = node
  check(Number.isInteger(nodeId) && nodeId >= 0 && nodeId < 2 ** 31, `node id ${nodeId} is not a whole number from 0 to 2147483647`)
  check(isUuid(incarnationId), `incarnation id ${quote(incarnationId)} is not an id`)
  check(isUuid(directoryId), `directory id ${quote(directoryId)} is not an id`)
  check(host.length > 0 && host.length <= HOST_MAX_LENGTH, `host ${quote(host)} does not have 1 to ${HOST_MAX_LENGTH} characters`)
  check(Number.isInteger(port) && port >= 1 && port <= 65_535, `port ${port} is not from 1 to 65535`)
  check(
    alternatives.length <= ALTERNATIVES_MAX && alternatives.every((address) => address.length <= TEXT_MAX_LENGTH),
    `a node has at most ${ALTERNATIVES_MAX} other addresses of at most ${TEXT_MAX_LENGTH} characters`,
  )
  check(rack.length <= TEXT_MAX_LENGTH, `rack ${quote(rack)} has more than ${TEXT_MAX_LENGTH} characters`)
  check(version.length <= TEXT_MAX_LENGTH, `version ${quote(version)} has more than ${TEXT_MAX_LENGTH} characters`)
  check(
    roles.length > 0 && new Set(roles).size === roles.length && roles.every((role) => ROLES.includes(role)),
    `roles ${quote(roles.join(', '))} are not broker, controller or both`,
  )
}

function check(isRight: boolean, problem: string): void {
  if (!isRight) throw new TidemarkError('INVALID_REQUEST', problem)
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}
