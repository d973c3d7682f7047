/** What server reflection answers. */
import { Contract } from '../../../protocol/contract.ts'
import {
  type ServerReflectionRequest as Request,
  type ServerReflectionResponse as Response,
  ServerReflectionRequest,
  ServerReflectionResponse,
} from '../../../protocol/gen/grpc/reflection/v1/reflection.ts'
import { grpcJs } from './grpc-js.ts'

/** What nodes call of each other, and this service, are nobody's business. */
const HIDDEN: ReadonlySet<string> = new Set([
  'grpc.reflection.v1.ServerReflection',
  'tidemark.v1.Controller',
  'tidemark.v1.Quorum',
  'tidemark.v1.Replica',
])

type Answer = NonNullable<Response['messageResponse']>

export class Reflection {
  readonly #contract = new Contract()

  /** From an encoded request to an encoded response. Throws what protobuf throws of bytes that are no request. */
  answer(bytes: Uint8Array): Buffer {
    const request = ServerReflectionRequest.decode(bytes)
    const messageResponse = this.#answerTo(request.messageRequest)
    return Buffer.from(ServerReflectionResponse.encode({ validHost: request.host, originalRequest: request, messageResponse }).finish())
  }

  #answerTo(asked: Request['messageRequest']): Answer {
    switch (asked?.$case) {
      case 'listServices': {
        const service = this.#contract.services.filter((name) => !HIDDEN.has(name)).map((name) => ({ name }))
        return { $case: 'listServicesResponse', value: { service } }
      }
      case 'fileByFilename':
        return files(this.#contract.fileNamed(asked.value), `file ${asked.value}`)
      case 'fileContainingSymbol':
        return files(this.#contract.fileOfSymbol(asked.value), `symbol ${asked.value}`)
      case 'fileContainingExtension':
        return refusal(grpcJs.status.NOT_FOUND, `there is no extension of ${asked.value.containingType}`)
      case 'allExtensionNumbersOfType':
        return { $case: 'allExtensionNumbersResponse', value: { baseTypeName: asked.value, extensionNumber: [] } }
      case undefined:
        return refusal(grpcJs.status.INVALID_ARGUMENT, 'a question of a kind that is not known here')
    }
  }
}

function files(found: readonly Uint8Array[] | undefined, what: string): Answer {
  if (found === undefined) return refusal(grpcJs.status.NOT_FOUND, `there is no ${what}`)
  return { $case: 'fileDescriptorResponse', value: { fileDescriptorProto: found.map((file) => Buffer.from(file)) } }
}

function refusal(errorCode: number, errorMessage: string): Answer {
  return { $case: 'errorResponse', value: { errorCode, errorMessage } }
}
