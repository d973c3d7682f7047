/** Writes protocol/gen/ from protocol/proto/. `--check` fails instead when the two differ. */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const committed = join(root, 'protocol/gen')
const fresh = mkdtempSync(join(tmpdir(), 'tidemark-gen-'))

const TS_PROTO_OPTIONS = [
  'env=node',
  'outputServices=grpc-js',
  'outputClientImpl=false',
  'esModuleInterop=true',
  'importSuffix=.ts',
  'enumsAsLiterals=true',
  'oneof=unions-value',
  'unrecognizedEnum=false',
  'useOptionals=none',
  'outputJsonMethods=false',
  'outputPartialMethods=true',
  'removeEnumPrefix=true',
  'stringEnums=false',
  'forceLong=number',
  'useMapType=false',
  'outputTypeRegistry=false',
  'annotateFilesWithVersion=false',
]

try {
  buf('generate', 'protocol/proto', '--template', JSON.stringify(template()), '--output', fresh)
  writeDescriptors()
  if (process.argv.includes('--check')) compare()
  else replace()
} finally {
  rmSync(fresh, { recursive: true, force: true })
}

function buf(...args: readonly string[]): void {
  execFileSync(join(root, 'node_modules/.bin/buf'), args, { cwd: root, stdio: 'inherit' })
}

/** What server reflection tells, as text: code that is loaded like any other, wherever the package lies. */
function writeDescriptors(): void {
  const binary = join(fresh, 'descriptors.binpb')
  buf('build', 'protocol/proto', '--as-file-descriptor-set', '--exclude-source-info', '-o', binary)
  const text = readFileSync(binary).toString('base64')
  rmSync(binary)
  writeFileSync(
    join(fresh, 'descriptors.ts'),
    `/** Every file of protocol/proto/ as a google.protobuf.FileDescriptorSet, in base64. Made by scripts/gen-proto.ts. */\nexport const DESCRIPTORS: string =\n  '${text}'\n`,
  )
}

function template(): object {
  return {
    version: 'v2',
    plugins: [{ local: join(root, 'node_modules/.bin/protoc-gen-ts_proto'), out: '.', opt: TS_PROTO_OPTIONS }],
  }
}

function generatedFiles(directory: string): Map<string, string> {
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  return new Map(files.sort().map((name) => [name, readFileSync(join(directory, name), 'utf8')]))
}

function compare(): void {
  const wanted = generatedFiles(fresh)
  const present = generatedFiles(committed)
  const stale = [...new Set([...wanted.keys(), ...present.keys()])].filter((name) => wanted.get(name) !== present.get(name))
  if (stale.length === 0) return
  console.error(`protocol/gen is not what protocol/proto says: ${stale.join(', ')}. Run \`npm run gen\` and commit the result.`)
  process.exitCode = 1
}

function replace(): void {
  rmSync(committed, { recursive: true, force: true })
  mkdirSync(committed, { recursive: true })
  cpSync(fresh, committed, { recursive: true })
}
