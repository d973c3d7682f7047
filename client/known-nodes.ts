/**
 * The nodes a client may ask: those the cluster has told it of, and the addresses it was given. Asked is always the same one, until it
 * fails: then the next.
 */
import type { NodeDescription } from '../protocol/gen/tidemark/v1/cluster.ts'
import { formatAddress } from '../protocol/addresses.ts'

export class KnownNodes {
  readonly bootstrap: readonly string[]
  #told: readonly string[] = []
  #preferred: string

  /** `bootstrap`: at least one. */
  constructor(bootstrap: readonly string[]) {
    this.bootstrap = bootstrap
    this.#preferred = bootstrap[0] as string
  }

  get preferred(): string {
    return this.#preferred
  }

  /** The node did not do. */
  failed(address: string): void {
    if (address !== this.#preferred) return
    const all = [...new Set([...this.bootstrap, ...this.#told])]
    this.#preferred = all[(all.indexOf(address) + 1) % all.length] as string
  }

  /** These are all nodes of the cluster. Those not among them are gone; none at all is no answer. */
  learnAll(nodes: readonly NodeDescription[]): void {
    if (nodes.length > 0) this.#told = addressesOf(nodes)
  }

  /** These are nodes of the cluster. How many are kept is bounded by `learnAll`, which every client hears first. */
  learn(nodes: readonly NodeDescription[]): void {
    const fresh = addressesOf(nodes).filter((address) => !this.#told.includes(address))
    if (fresh.length > 0) this.#told = [...this.#told, ...fresh].slice(-KNOWN_MAX)
  }
}

/** More than a cluster has; addresses that changed since are among them. */
const KNOWN_MAX = 256

function addressesOf(nodes: readonly NodeDescription[]): string[] {
  return nodes.filter(({ host }) => host !== '').map(({ host, port }) => formatAddress(host, port))
}
