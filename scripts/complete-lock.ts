/**
 * Adds to package-lock.json the packages for other platforms that npm left out. `--check` fails instead when some are missing.
 *
 * npm lists an optional package only if the registry it was run against offers it, but `npm ci` refuses a lock file that lacks
 * one, and on the platform in question the tool would not run. Their versions are exact in the package that asks for them;
 * system and processor follow from their names. They carry no checksum, which npm accepts. Run it after `npm install <package>`.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './tools.ts'

interface LockedPackage {
  readonly version?: string
  readonly cpu?: readonly string[]
  readonly dev?: boolean
  readonly libc?: readonly string[]
  readonly optional?: boolean
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly os?: readonly string[]
}

const SYSTEMS = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32']
const PROCESSORS = ['arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'x64', 'arm']

const file = join(root, 'package-lock.json')
const lock: { packages: Record<string, LockedPackage> } = JSON.parse(readFileSync(file, 'utf8'))

const missing = Object.entries(lock.packages).flatMap(([path, { optionalDependencies = {}, dev }]) =>
  Object.entries(optionalDependencies)
    .filter(([name]) => !(`node_modules/${name}` in lock.packages || `${path}/node_modules/${name}` in lock.packages))
    .map(([name, version]) => ({ name, entry: platformPackage(name, version, dev === true) })),
)

if (missing.length === 0) console.log('package-lock.json lists every platform')
else if (process.argv.includes('--check')) {
  console.error(
    `package-lock.json lacks ${missing.map(({ name }) => name).join(', ')}: run \`node scripts/run.mjs scripts/complete-lock.ts\``,
  )
  process.exitCode = 1
} else {
  for (const { name, entry } of missing) lock.packages[`node_modules/${name}`] = entry
  const sorted = Object.entries(lock.packages).sort(([a], [b]) => a.localeCompare(b, 'en'))
  writeFileSync(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, undefined, 2)}\n`)
  console.log(`added ${missing.length} packages for other platforms`)
}

function platformPackage(name: string, version: string, isDev: boolean): LockedPackage {
  const words = name.replace('aarch64', 'arm64').split(/[/-]/)
  const os = SYSTEMS.find((system) => words.includes(system))
  const cpu = PROCESSORS.find((processor) => words.some((word) => word === processor || (processor === 'arm' && word.startsWith('armv'))))
  if (os === undefined || cpu === undefined || !/^\d/.test(version)) {
    throw new Error(`cannot tell the platform of ${name}@${version}, which package-lock.json lacks; add it by hand`)
  }
  const libc = words.find((word) => /^(musl|gnu)(eabi|eabihf)?$/.test(word))
  return {
    version,
    cpu: [cpu],
    ...(isDev ? { dev: true } : {}),
    ...(libc !== undefined ? { libc: [libc.startsWith('musl') ? 'musl' : 'glibc'] } : {}),
    optional: true,
    os: [os],
  }
}
