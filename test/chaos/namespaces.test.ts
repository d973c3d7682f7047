/** The network of a chaos run with real packets, for root: processes in namespaces of their own, and what may happen between them. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface, type Interface } from 'node:readline'
import { afterEach, beforeEach, expect, it, type TestContext } from 'vitest'
import { NamespaceNetwork } from '../../scripts/chaos/namespaces.ts'
import type { Place } from '../../scripts/chaos/network.ts'

const PORT = 9000

/** Sends back what it gets. */
const ECHO = `
require('node:net').createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(${PORT}, process.argv[1], () => console.log('listening'))
`
/** Says what happens to its connection, and sends the lines it is given. */
const DIAL = `
const socket = require('node:net').connect(${PORT}, process.argv[1])
socket.setNoDelay(true)
socket.on('connect', () => console.log('connected')).on('data', (data) => console.log(String(data).trim()))
socket.on('error', () => {}).on('close', () => console.log('closed'))
process.stdin.on('data', (data) => socket.write(data))
`

let network: NamespaceNetwork | string
let processes: ChildProcess[]
let nodePlace: Place
let clientPlace: Place

beforeEach(async () => {
  network = NamespaceNetwork.open()
  processes = []
  if (typeof network === 'string') return
  ;[nodePlace, clientPlace] = [await network.place('node-1'), await network.place('client')]
  network.listens('node-1')
  const { lines } = start(nodePlace, ECHO)
  await once(lines, 'line')
})

afterEach(async () => {
  for (const one of processes) one.kill('SIGKILL')
  if (typeof network !== 'string') await network.close()
})

function need(context: TestContext): NamespaceNetwork {
  return typeof network === 'string' ? context.skip(network) : network
}

function start(place: Place, code: string): { readonly child: ChildProcess; readonly lines: Interface } {
  const [command, ...words] = [...place.through, process.execPath, '-e', code, nodePlace.host]
  const child = spawn(command, words, { stdio: ['pipe', 'pipe', 'inherit'] })
  processes.push(child)
  return { child, lines: createInterface({ input: child.stdout as NodeJS.ReadableStream }) }
}

/** A connection of the client to the node. */
class Dialled {
  readonly #child: ChildProcess
  readonly #lines: Interface
  readonly said: string[] = []

  constructor() {
    const { child, lines } = start(clientPlace, DIAL)
    this.#child = child
    this.#lines = lines.on('line', (line) => this.said.push(line))
  }

  send(text: string): void {
    this.#child.stdin?.write(`${text}\n`)
  }

  async until(line: string): Promise<void> {
    while (!this.said.includes(line)) await once(this.#lines, 'line')
  }
}

/** Packets that reached the client. */
function received(): number {
  const [command, ...words] = [...clientPlace.through, 'ip', '-s', '-j', 'link', 'show', 'eth0']
  const [device] = JSON.parse(execFileSync(command, words, { encoding: 'utf8' })) as {
    readonly stats64: { readonly rx: { readonly packets: number } }
  }[]
  return device?.stats64.rx.packets ?? Number.NaN
}

async function echoes(dialled: Dialled, count: number): Promise<void> {
  for (let at = 0; at < count; at++) {
    dialled.send(`${at}`)
    await dialled.until(`${at}`)
  }
}

it('lets through what nobody hinders, and knows for whom something went through', async (context) => {
  const net = need(context)
  await net.place('idle')
  const dialled = new Dialled()
  await dialled.until('connected')
  await echoes(dialled, 20)
  expect(net.silent(['client', 'node-1', 'idle'])).toEqual(['idle'])
})

it('loses what is cut, each direction for itself, tells nobody, and goes on when it is healed', async (context) => {
  const net = need(context)
  for (const [from, to] of [
    ['client', 'node-1'],
    ['node-1', 'client'],
  ] as const) {
    const dialled = new Dialled()
    await dialled.until('connected')
    net.cut([from], [to])
    dialled.send('late')
    // Somebody else is not cut off, and is answered meanwhile.
    const other = await net.place(`other-${from}`)
    const bystander = start(other, DIAL)
    expect(await once(bystander.lines, 'line')).toEqual(['connected'])
    expect(dialled.said).toEqual(['connected'])
    net.heal()
    await dialled.until('late')
    expect(dialled.said).toEqual(['connected', 'late'])
  }
})

it('loses a share of all packets, and what is sent arrives all the same', async (context) => {
  const net = need(context)
  const dialled = new Dialled()
  await dialled.until('connected')
  net.lose(['client'], 0.2)
  await echoes(dialled, 10)
  expect(dialled.said).not.toContain('closed')
})

it('brings packets twice', async (context) => {
  const net = need(context)
  const dialled = new Dialled()
  await dialled.until('connected')
  const count = async (): Promise<number> => {
    const before = received()
    await echoes(dialled, 50)
    dialled.said.length = 0
    return received() - before
  }
  const once_ = await count()
  net.double(1)
  expect(await count()).toBeGreaterThan(once_ * 1.5)
  net.heal()
  expect(await count()).toBeLessThan(once_ * 1.5)
})

it('unplugs a process, and its connections live on when it is plugged in again', async (context) => {
  const net = need(context)
  const dialled = new Dialled()
  await dialled.until('connected')
  net.unplug(['node-1'])
  dialled.send('late')
  net.heal()
  await dialled.until('late')
  expect(dialled.said).toEqual(['connected', 'late'])
})

it('slows everything down, and heals', async (context) => {
  const net = need(context)
  net.slow(20, 100_000)
  const dialled = new Dialled()
  await dialled.until('connected')
  await echoes(dialled, 3)
  net.heal()
  await echoes(dialled, 5)
})

it('resets connections: the other end is told', async (context) => {
  const net = need(context)
  const dialled = new Dialled()
  await dialled.until('connected')
  expect(net.each('reset', () => true)).toBe(1)
  await dialled.until('closed')
})

it('leaves a connection half open: who dialled is told only when it says something', async (context) => {
  const net = need(context)
  const dialled = new Dialled()
  await dialled.until('connected')
  expect(net.each('half-open', () => true)).toBe(1)
  const another = new Dialled()
  await another.until('connected')
  await echoes(another, 3)
  expect(dialled.said).toEqual(['connected'])
  dialled.send('anybody there?')
  await dialled.until('closed')
})

it('leaves nothing behind, and clears away what a run that was killed left', async (context) => {
  const net = need(context)
  const names = (): string => ['netns', 'link'].map((what) => execFileSync('ip', ['-o', what], { encoding: 'utf8' })).join()
  expect(names()).toContain(`tmc${process.pid}-`)
  await net.close()
  expect(names()).not.toContain(`tmc${process.pid}-`)

  // One makes a network with a process in it, and is killed. The process has its standard output, which ends with the last who has it.
  const code = `
    const { NamespaceNetwork } = await import(${JSON.stringify(new URL('../../scripts/chaos/namespaces.ts', import.meta.url).href)})
    const { spawn } = await import('node:child_process')
    const [command, ...words] = [...(await NamespaceNetwork.open().place('lost')).through, process.execPath]
    spawn(command, [...words, '-e', 'console.log("here"); setInterval(() => {}, 1000)'], { stdio: ['ignore', 'inherit', 'ignore'] })
  `
  const killed = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: killed.stdout })
  await once(lines, 'line')
  killed.kill('SIGKILL')
  await once(killed, 'exit')
  expect(names()).toContain(`tmc${killed.pid}-`)
  const ended = once(lines, 'close')
  network = NamespaceNetwork.open()
  expect(names()).not.toContain(`tmc${killed.pid}-`)
  await ended
})
