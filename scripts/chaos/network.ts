/** What a run needs of the network between its processes. `proxy-network.ts` does it for anybody, `namespaces.ts` with real packets for root. */

/** Where a process runs, and how it gets to the others. */
export interface Place {
  /** A node listens here. */
  readonly host: string
  readonly environment: Readonly<Record<string, string>>
  /** The command it is started through; empty: none. */
  readonly through: readonly string[]
}

/** What is done to connections that are there. */
export type Hit = 'reset' | 'half-open' | { readonly cutAfterBytes: number }

/** Faults of single packets, and of the device they come from. Shares are from 0 to 1. */
export interface Packets {
  /** So many of all packets from these processes and to them. */
  lose(names: readonly string[], share: number): void
  /** So many of all packets arrive twice. */
  double(share: number): void
  /** So many packets to these processes have a bit that is not as it was sent. */
  corrupt(names: readonly string[], share: number): void
  /** These have no network: not a cut further on, the device itself is off. */
  unplug(names: readonly string[]): void
}

export interface Network {
  /** Kinds of faults that it cannot do, and why not. */
  readonly skips: ReadonlyMap<string, string>
  /** Undefined where there are only connections. */
  readonly packets: Packets | undefined
  /** Makes the place of a process. */
  place(name: string): Promise<Place>
  /** Says where a node will listen, before anybody dials it. */
  listens(node: string, port: number): void
  /** In this direction only. */
  cut(from: readonly string[], to: readonly string[]): void
  /** Everything, both ways. */
  slow(delayMs: number, bytesPerSecond: number): void
  /** Returns how many connections were picked. */
  each(what: Hit, isPicked: () => boolean): number
  /** Nothing is cut, slow or lost any more. What was left half open stays so until an end of it notices. */
  heal(): void
  /** Those of these processes for which nothing has gone through here. */
  silent(names: readonly string[]): readonly string[]
  /** Also where the process is about to end: whatever is not of this process is removed when this returns. */
  close(): Promise<void>
}
