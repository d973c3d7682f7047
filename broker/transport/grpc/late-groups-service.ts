/** The `Groups` service before anybody has called it: what stands behind it is loaded by the first call. Until then a message is bytes. */
import type * as grpc from '@grpc/grpc-js'
import { TidemarkError } from '../../../protocol/errors.ts'
import type { Broker } from '../../broker.ts'
import { decodeRequest } from './requests.ts'
import { statusOf } from './status.ts'

type Definition = grpc.MethodDefinition<unknown, unknown>
type Handler = grpc.handleUnaryCall<unknown, unknown>

interface Loaded {
  readonly definition: Readonly<Record<string, Definition>>
  readonly handlers: Readonly<Record<string, Handler>>
}

/** As in groups.proto. */
export const GROUP_CALLS: readonly string[] = [
  'FindCoordinators',
  'Heartbeat',
  'CommitOffsets',
  'FetchOffsets',
  'ListGroups',
  'DescribeGroups',
  'ResetOffsets',
  'DeleteGroups',
  'DeleteOffsets',
]

export function addGroups(server: Pick<grpc.Server, 'addService'>, broker: () => Broker | undefined): void {
  const bytes = (value: Buffer): Buffer => value
  const codec = { requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes }
  let loaded: Promise<Loaded> | undefined
  const load = (): Promise<Loaded> => {
    const present = broker()
    if (present === undefined) throw new TidemarkError('UNAVAILABLE', 'the node is starting', { retryAfterMs: 20, outcome: 'failed' })
    loaded ??= loadService(present)
    return loaded
  }
  const calls = GROUP_CALLS.map((name) => {
    const handler: grpc.handleUnaryCall<Buffer, Buffer> = (call, callback) => {
      serve(name, load, call, callback).catch((error: unknown) => callback(statusOf(error)))
    }
    const path = `/tidemark.v1.Groups/${name}`
    return { name, definition: { path, requestStream: false as const, responseStream: false as const, ...codec }, handler }
  })
  server.addService(
    Object.fromEntries(calls.map(({ name, definition }) => [name, definition])),
    Object.fromEntries(calls.map(({ name, handler }) => [name, handler])),
  )
}

async function loadService(broker: Broker): Promise<Loaded> {
  const [{ GroupsService }, { createGroupsService }] = await Promise.all([
    import('../../../protocol/gen/tidemark/v1/groups.ts'),
    import('./groups-service.ts'),
    broker.lateGroups.load(),
  ])
  return {
    definition: GroupsService as unknown as Loaded['definition'],
    handlers: createGroupsService(broker) as unknown as Loaded['handlers'],
  }
}

async function serve(
  name: string,
  load: () => Promise<Loaded>,
  call: grpc.ServerUnaryCall<Buffer, Buffer>,
  callback: grpc.sendUnaryData<Buffer>,
): Promise<void> {
  const { definition, handlers } = await load()
  const method = `${name.charAt(0).toLowerCase()}${name.slice(1)}`
  const { responseSerialize, ...decoder } = definition[method] as Definition
  const decoded = Object.assign(call, { request: decodeRequest(decoder, call.request) }) as unknown as grpc.ServerUnaryCall<
    unknown,
    unknown
  >
  const handler = handlers[method] as Handler
  handler(decoded, (error, response, ...rest) =>
    callback(error, response === null || response === undefined ? null : responseSerialize(response), ...rest),
  )
}
