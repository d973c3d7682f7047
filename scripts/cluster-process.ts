/** Three nodes as processes of one cluster, for scripts and tests that stop, pause and kill them. */
import { join } from 'node:path'
import { freePort, NodeProcess } from './node-process.ts'

export class ClusterProcess {
  /** By node id, from 1 on. */
  readonly nodes: readonly NodeProcess[]

  private constructor(nodes: readonly NodeProcess[]) {
    this.nodes = nodes
  }

  /** Starts `count` nodes below `directory` and waits until each is ready. `environment`: settings, by the names of their variables. */
  static async start(directory: string, count = 3, environment: Readonly<Record<string, string>> = {}): Promise<ClusterProcess> {
    const cluster = await ClusterProcess.prepare(
      directory,
      Array.from({ length: count }, () => '127.0.0.1'),
      environment,
    )
    try {
      await Promise.all(cluster.nodes.map((node) => node.start()))
      return cluster
    } catch (error) {
      await cluster.stop('SIGKILL')
      throw error
    }
  }

  /** The same, one on each host, not started yet. */
  static async prepare(
    directory: string,
    hosts: readonly string[],
    environment: Readonly<Record<string, string>>,
  ): Promise<ClusterProcess> {
    const ports = await Promise.all(hosts.map(() => freePort()))
    const voters = ports.map((port, at) => `${at + 1}@${hosts[at]}:${port}`).join(',')
    const nodes = ports.map(
      (port, at) =>
        new NodeProcess(
          port,
          join(directory, `node-${at + 1}`),
          [],
          { TIDEMARK_NODE_ID: String(at + 1), TIDEMARK_VOTERS: voters, ...environment },
          hosts[at],
        ),
    )
    return new ClusterProcess(nodes)
  }

  get addresses(): string[] {
    return this.nodes.map(({ address }) => address)
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop(signal)))
  }
}
