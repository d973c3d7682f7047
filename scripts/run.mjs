/**
 * Runs a file of this project, or a tool it depends on, under the Node it needs, installing what is missing:
 *     node scripts/run.mjs <file.ts|file.mjs|tool> [arguments]
 *
 * Works from Node 18 on, has no dependencies, and is the first thing a fresh clone runs. It (1) compares the lists of packages
 * with the stamp of the last installation and runs `npm ci` where they differ, one process at a time; (2) finds a Node that runs
 * TypeScript; (3) starts it, passes signals on and ends as it ends. What fails ends in one sentence: what, why, what to do.
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
const nodeInPackage = join('bin', isWindows ? 'node.exe' : 'node')

class Failure extends Error {}

try {
  const [target = '', ...rest] = process.argv.slice(2)
  const lists = ['package.json', 'package-lock.json'].map((name) => readFileSync(join(root, name)))
  const fingerprint = createHash('sha256').update(Buffer.concat(lists)).digest('hex')
  const node = readyNode(fingerprint) ?? (await install(fingerprint))
  start(node, [entryOf(target), ...rest])
} catch (error) {
  const advice = error instanceof Failure ? '' : '; if a file of the project is lost or damaged, `git status` shows it'
  process.stderr.write(`tidemark: ${error.message}${advice}\n`)
  process.exitCode = 1
}

function readJson(...path) {
  const file = join(...path)
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
async function install(fingerprint) {
  await takeLock()
  try {
    const byOther = readyNode(fingerprint)
    if (byOther) return byOther
    if (!isInStep()) npm(['ci', '--include=dev', '--include=optional'], 'installing its packages, once', 'cannot install its packages')
    const node = suitableNode()
    writeFileSync(stampFile, JSON.stringify({ fingerprint, node, nodeMtimeMs: statSync(node).mtimeMs }))
    return node
  } finally {
    rmSync(lockFile, { force: true })
  }
}

/** True when node_modules already holds what the lock file lists, as after an `npm install` by hand. */
function isInStep() {
  const listed = readJson(root, 'package.json')
  const wanted = readJson(root, 'package-lock.json')?.packages
  const present = readJson(modules, '.package-lock.json')?.packages
  if (!wanted || !present) return false
  const isSame = (kind) => JSON.stringify(wanted['']?.[kind]) === JSON.stringify(listed[kind])
  const isThere = (path) => present[path]?.version === wanted[path].version && existsSync(join(root, path))
  const isRight = (path) => path === '' || isThere(path) || (wanted[path].optional && !present[path])
  return isSame('dependencies') && isSame('devDependencies') && Object.keys(wanted).every(isRight)
}

/** The lock is a file outside node_modules, which `npm ci` empties. It holds a process id, so that one left by a dead process does not count. */
async function takeLock() {
  for (const deadlineMs = Date.now() + lockWaitMs; ; await new Promise((resolve) => setTimeout(resolve, 200))) {
    try {
      return writeFileSync(lockFile, String(process.pid), { flag: 'wx' })
    } catch (error) {
      if (error.code !== 'EEXIST') throw new Failure(`cannot install its packages, because ${error.message}; make the directory writable`)
    }
    if (!isHeld()) rmSync(lockFile, { force: true })
    if (Date.now() > deadlineMs)
      throw new Failure(`another process holds ${lockFile} for too long; end it, or remove the file if there is none`)
  }
}

function isHeld() {
  try {
    const holder = readFileSync(lockFile, 'utf8')
    if (holder === '') return Date.now() - statSync(lockFile).mtimeMs < 10_000 // made a moment ago, the id comes next
    return Number(holder) !== process.pid && process.kill(Number(holder), 0)
  } catch (error) {
    return error.code !== 'ESRCH' // released this moment, or it runs as another user
  }
}

/** Runs npm with one line of progress, and its own words only when it fails. */
function npm(args, doing, failure) {
  process.stderr.write(`tidemark: ${doing} ...\n`)
  const { npm_execpath: script = '', npm_node_execpath: node = process.execPath } = process.env
  const [command, ...first] = /npm-cli\.[cm]?js$/.test(script) ? [node, script] : ['npm']
  const options = {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    shell: isWindows && command === 'npm',
    stdio: ['ignore', 'pipe', 'pipe'],
  }
  const done = spawnSync(command, [...first, ...args, '--no-audit', '--no-fund', '--loglevel=error'], options)
  if (done.error) throw new Failure(`${failure}, because npm does not start (${done.error.code}); install Node.js with npm, then try again`)
  if (done.status === 0) return
  process.stderr.write(`${done.stdout}${done.stderr}`)
  throw new Failure(`${failure}, because \`npm ${args[0]}\` failed as it says above; mend that, then try again`)
}

/** The package `node` where its install script ran; else the Node that runs this; else the binary that package would have fetched. */
function suitableNode() {
  for (const node of [join(modules, 'node', nodeInPackage), process.execPath]) if (isNewEnough(node)) return node
  const version = readJson(root, 'package.json').devDependencies.node
  const platform = `${isWindows ? 'win' : process.platform}-${isWindows && process.arch === 'ia32' ? 'x86' : process.arch}`
  const name = `${platform === 'darwin-arm64' ? 'node-bin' : 'node'}-${platform}`
  const prefix = join(modules, '.node')
  mkdirSync(prefix, { recursive: true })
  const args = ['install', '--prefix', prefix, '--no-save', '--no-package-lock', '--ignore-scripts', `${name}@${version}`]
  npm(args, `fetching Node ${version}`, `needs Node 24.12 or newer, this is ${process.versions.node}, and it cannot fetch one`)
  const fetched = join(prefix, 'node_modules', name, nodeInPackage)
  if (isNewEnough(fetched)) return fetched
  throw new Failure(`needs Node 24.12 or newer, and the one it fetched does not run on this system; install one, then try again`)
}

function isNewEnough(node) {
  const [major, minor] = (spawnSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).stdout ?? '').split('.').map(Number)
  return major > 24 || (major === 24 && minor >= 12)
}

/** A file of the project by its path, or the JavaScript behind a tool of node_modules/.bin. */
function entryOf(target) {
  if (/\.[cm]?[jt]s$/.test(target) && existsSync(join(root, target))) return join(root, target)
  const { dependencies, devDependencies } = readJson(root, 'package.json')
  for (const name of [target, ...Object.keys({ ...devDependencies, ...dependencies })]) {
    const file = readJson(modules, name, 'package.json')?.bin?.[target]
    if (file) return join(modules, name, file)
  }
  throw new Failure(`"${target}" is neither a file of the project (.ts, .mjs) nor a tool of its packages; check the spelling`)
}

function start(node, args) {
  const env = { ...process.env }
  const pathKey = Object.keys(env).find((key) => key.toLowerCase() === 'path') ?? 'PATH'
  env[pathKey] = [dirname(node), join(modules, '.bin'), env[pathKey]].filter(Boolean).join(delimiter)
  const child = spawn(node, args, { stdio: 'inherit', env })
  let isTold = false
  const pass = (signal) => {
    isTold = true
    // A terminal sends its interrupt to every process in the foreground: passed on, it would arrive twice.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, pass)
  // npm puts a shell between itself and us, which dies of a signal without passing it on.
  const parent = process.ppid
  if (env.npm_lifecycle_event) setInterval(() => process.ppid === parent || isTold || pass('SIGTERM'), 500)
  child.on('error', (error) =>
    process.stderr.write(`tidemark: cannot start ${node} (${error.code}); remove node_modules, then try again\n`),
  )
  child.on('close', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 1)))
}
