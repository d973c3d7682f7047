/**
 * Server reflection: how grpcurl and the like learn what can be called. The first call loads what answers it, so that no start of a
 * node pays for it; until then a message is bytes.
 */
import type * as grpc from '@grpc/grpc-js'
import { TidemarkError } from '../../../protocol/errors.ts'
import type { Reflection } from './reflection.ts'
import { statusOf } from './status.ts'

const METHOD = 'ServerReflectionInfo'

/** Old tools know the second only. The messages are the same. */
const VERSIONS = ['v1', 'v1alpha']

type BytesCall = grpc.ServerDuplexStream<Buffer, Buffer>

export function addReflection(server: Pick<grpc.Server, 'addService'>): void {
  const bytes = (value: Buffer): Buffer => value
  const codec = { requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes }
  let loaded: Promise<Reflection> | undefined
  const handle = (call: BytesCall): void => {
    loaded ??= import('./reflection.ts').then((module) => new module.Reflection())
    loaded.then(
      (reflection) => serve(call, reflection),
      (error: unknown) => call.emit('error', statusOf(error)),
    )
  }
  for (const version of VERSIONS) {
    const path = `/grpc.reflection.${version}.ServerReflection/${METHOD}`
    server.addService({ [METHOD]: { path, requestStream: true, responseStream: true, ...codec } }, { [METHOD]: handle })
  }
}

function serve(call: BytesCall, reflection: Reflection): void {
  call.on('data', (request: Buffer) => {
    try {
      call.write(reflection.answer(request))
    } catch (error) {
      call.emit('error', statusOf(TidemarkError.from(error, 'INVALID_REQUEST')))
    }
  })
  call.on('end', () => call.end())
  call.on('error', () => {})
}
