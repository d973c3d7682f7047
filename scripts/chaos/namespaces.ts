/**
 * A network of real packets, for root on Linux: each process is in a network namespace of its own, joined to the others by a bridge.
 *
 *   namespace of `node-1`: eth0 ── tmc<pid>-2 ── bridge tmc<pid>-b ── tmc<pid>-3 ── eth0 of `node-2`
 *
 * Rules stand at our end of each pair of devices, where a packet has left its sender already: what is dropped there is lost without anybody being told, no
 * refusal, no reset. TCP sends again, later each time, as it does when a cable is cut. Names carry the process that made them, so the next run can tell what an
 * earlier one that was killed has left behind.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Hit, Network, Packets, Place } from './network.ts'
import { freeSubnet, ip, ipIn, NETWORK_AS_CIDR, prefixOf, removeLeftovers, removeOf, tc } from './devices.ts'
import { chanceProgram, dropProgram, PASS } from './packet-filter.ts'

/** A process that has made one connection has sent more. */
const SILENT_PACKETS = 20

interface Joined {
  readonly address: string
  /** Name of its namespace, and of our end of its pair of devices. */
  readonly device: string
}

export class NamespaceNetwork implements Network, Packets {
  readonly #prefix = prefixOf(process.pid)
  readonly #bridge = `${this.#prefix}b`
  readonly #subnet: string
  readonly #joined = new Map<string, Joined>()
  readonly #nodes = new Set<string>()
  /** By who sends and to whom: the share of packets that is lost. */
  readonly #losses = new Map<string, Map<string, number>>()
  readonly #shaped = new Set<string>()
  readonly #unplugged = new Set<string>()
  #isDoubling = false
  readonly #hasNetem: boolean
  readonly packets = this
  readonly skips: ReadonlyMap<string, string>

  private constructor() {
    removeLeftovers()
    // No proxy that this machine may have leads there. Processes inherit this.
    process.env['no_grpc_proxy'] = NETWORK_AS_CIDR
    this.#subnet = freeSubnet()
    try {
      ip(`link add ${this.#bridge} type bridge`, `addr add ${this.#subnet}.1/24 dev ${this.#bridge}`, `link set ${this.#bridge} up`)
      this.#hasNetem = this.#tryNetem()
    } catch (error) {
      this.remove()
      throw error
    }
    this.skips = new Map([
      ['cut-after-bytes', 'only with --network proxy'],
      ...(this.#hasNetem ? [] : [['corrupt', 'this kernel has no netem'] as const]),
    ])
  }

  /** The network, or why there can be none. */
  static open(): NamespaceNetwork | string {
    if (process.platform !== 'linux') return 'network namespaces need Linux'
    if (process.geteuid?.() !== 0) return 'network namespaces need root'
    for (const tool of ['ip', 'tc', 'nsenter', 'ss'])
      try {
        execFileSync(tool, ['-V'], { stdio: 'ignore' })
      } catch {
        return `network namespaces need the tool ${tool}`
      }
    try {
      const network = new NamespaceNetwork()
      network.#tryRules()
      return network
    } catch (error) {
      return `no network namespaces here: ${String(error).trim()}`
    }
  }

  async place(name: string): Promise<Place> {
    const at = this.#joined.size + 2
    const [device, address] = [`${this.#prefix}${at}`, `${this.#subnet}.${at}`]
    this.#joined.set(name, { device, address })
    ip(`netns add ${device}`, `link add ${device} type veth peer name eth0 netns ${device}`, `link set ${device} master ${this.#bridge} up`)
    ipIn(device, 'link set lo up', `addr add ${address}/24 dev eth0`, 'link set eth0 up')
    tc(`qdisc add dev ${device} clsact`, filterOf(device, PASS))
    const through = ['nsenter', `--net=/run/netns/${device}`]
    // Nobody else is in this network.
    return { host: address, environment: { TIDEMARK_INSECURE: 'true', GRPC_VERBOSITY: 'NONE' }, through }
  }

  listens(node: string): void {
    this.#nodes.add(node)
  }

  cut(from: readonly string[], to: readonly string[]): void {
    this.#drop(from, to, 1)
  }

  lose(names: readonly string[], share: number): void {
    const all = [...this.#joined.keys()]
    this.#drop(names, all, share)
    this.#drop(all, names, share)
  }

  slow(delayMs: number, bytesPerSecond: number): void {
    const bits = bytesPerSecond * 8
    // Without netem packets are late only as far as they wait for those before them.
    const how = this.#hasNetem ? `netem delay ${delayMs}ms rate ${bits}bit` : `tbf rate ${bits}bit burst 20000 latency 500ms`
    this.#shape([...this.#joined.keys()], how)
  }

  corrupt(names: readonly string[], share: number): void {
    this.#shape(names, `netem corrupt ${share * 100}%`)
  }

  double(share: number): void {
    const program = chanceProgram(share)
    this.#isDoubling = true
    tc(
      ...this.#devices.map(
        (device) =>
          `filter replace dev ${device} ingress pref 2 handle 1 protocol ip bpf bytecode "${program}" action mirred egress mirror dev ${this.#bridge}`,
      ),
    )
  }

  unplug(names: readonly string[]): void {
    for (const name of names) {
      this.#unplugged.add(name)
      ipIn(this.#of(name).device, 'link set eth0 down')
    }
  }

  each(what: Hit, isPicked: () => boolean): number {
    if (typeof what === 'object') throw new Error('packets have no count of the bytes of a connection')
    let count = 0
    for (const node of this.#nodes)
      for (const name of this.#joined.keys())
        if (name !== node && isPicked()) count += what === 'reset' ? this.#endSockets(node, name) : this.#forget(node, name)
    return count
  }

  heal(): void {
    for (const name of this.#unplugged) ipIn(this.#of(name).device, 'link set eth0 up')
    this.#unplugged.clear()
    if (this.#isDoubling) tc(...this.#devices.map((device) => `filter del dev ${device} ingress pref 2`))
    this.#isDoubling = false
    tc(...[...this.#shaped].map((name) => `qdisc del dev ${this.#of(name).device} root`))
    this.#shaped.clear()
    tc(...[...this.#losses.keys()].map((name) => filterOf(this.#of(name).device, PASS)))
    this.#losses.clear()
  }

  silent(names: readonly string[]): readonly string[] {
    return names.filter((name) => {
      const { device } = this.#of(name)
      return Number(readFileSync(`/sys/class/net/${device}/statistics/rx_packets`, 'utf8')) <= SILENT_PACKETS
    })
  }

  async close(): Promise<void> {
    this.remove()
  }

  /** Everything that was made. Does not wait, so that it can be the last thing a process does. */
  remove(): void {
    removeOf(process.pid)
    this.#joined.clear()
  }

  get #devices(): string[] {
    return [...this.#joined.values()].map(({ device }) => device)
  }

  #of(name: string): Joined {
    const joined = this.#joined.get(name)
    if (joined === undefined) throw new Error(`there is no ${name} in this network`)
    return joined
  }

  /** What was to be lost already stays so. */
  #drop(from: readonly string[], to: readonly string[], share: number): void {
    for (const one of from) {
      const losses = this.#losses.get(one) ?? new Map<string, number>()
      this.#losses.set(one, losses)
      for (const other of to) if (other !== one) losses.set(other, Math.max(share, losses.get(other) ?? 0))
    }
    this.#apply(from)
  }

  #apply(names: readonly string[]): void {
    const program = (name: string): string =>
      dropProgram([...(this.#losses.get(name) ?? [])].map(([to, share]) => ({ address: this.#of(to).address, share })))
    tc(...names.map((name) => filterOf(this.#of(name).device, program(name))))
  }

  /** What goes to these processes. */
  #shape(names: readonly string[], how: string): void {
    for (const name of names) this.#shaped.add(name)
    tc(...names.map((name) => `qdisc replace dev ${this.#of(name).device} root ${how}`))
  }

  /** Those of a process to another one. Both ends are told. Returns how many there were. */
  #endSockets(owner: string, peer: string): number {
    const at = `--net=/run/netns/${this.#of(owner).device}`
    const ended = execFileSync('nsenter', [at, 'ss', '-KHtn', 'dst', this.#of(peer).address], { encoding: 'utf8' })
    return ended.split('\n').filter((line) => line !== '').length
  }

  /** The node's ends are gone, and the others are not told, nor when they send something: only if they go on until it is healed. */
  #forget(node: string, peer: string): number {
    const before = this.#losses.get(node)?.get(peer)
    this.cut([node], [peer])
    const count = this.#endSockets(node, peer)
    if (before === undefined) this.#losses.get(node)?.delete(peer)
    else this.#losses.get(node)?.set(peer, before)
    this.#apply([node])
    return count
  }

  #tryNetem(): boolean {
    try {
      tc(`qdisc add dev ${this.#bridge} root netem delay 1ms`, `qdisc del dev ${this.#bridge} root`)
      return true
    } catch {
      return false
    }
  }

  /** A kernel may have namespaces and no packet filter. */
  #tryRules(): void {
    try {
      tc(`qdisc add dev ${this.#bridge} clsact`, filterOf(this.#bridge, PASS), `qdisc del dev ${this.#bridge} clsact`)
    } catch (error) {
      this.remove()
      throw error
    }
  }
}

function filterOf(device: string, program: string): string {
  return `filter replace dev ${device} ingress pref 1 handle 1 protocol ip bpf da bytecode "${program}"`
}
