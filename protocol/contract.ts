/** The contract as data, for tools that ask a server what can be called: the files of `protocol/proto/`, as protobuf describes files. */
import { createFileRegistry, type DescFile, type FileRegistry, fromBinary, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { DESCRIPTORS } from './gen/descriptors.ts'

export class Contract {
  readonly #registry: FileRegistry

  constructor() {
    this.#registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, Buffer.from(DESCRIPTORS, 'base64')))
  }

  /** Full names. */
  get services(): readonly string[] {
    return [...this.#registry].filter(({ kind }) => kind === 'service').map(({ typeName }) => typeName)
  }

  /** The file of that name with all it imports, encoded. */
  fileNamed(name: string): readonly Uint8Array[] | undefined {
    const file = this.#registry.getFile(name)
    return file && encoded(file)
  }

  /** The file that declares a service, message or enum, or one of their calls, fields or values. */
  fileOfSymbol(symbol: string): readonly Uint8Array[] | undefined {
    const found = this.#registry.get(symbol) ?? this.#registry.get(symbol.slice(0, Math.max(0, symbol.lastIndexOf('.'))))
    return found && encoded(found.file)
  }
}

function encoded(file: DescFile): readonly Uint8Array[] {
  const files = new Set([file])
  // A set takes in what is added while it is walked.
  for (const { dependencies } of files) for (const dependency of dependencies) files.add(dependency)
  return [...files].map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto))
}
