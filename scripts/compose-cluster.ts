/**
 * Starts what docker-compose.yml describes as processes on this machine, for where there is no Docker: the same command, the same
 * environment, names of hosts mapped to loopback addresses.
 *
 *   node scripts/run.mjs scripts/compose-cluster.ts [--data-dir ./compose-data]
 *
 * Prints the addresses once every health check passes, and stops all of it on Ctrl-C.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type ComposeFile, processEnvironment, readComposeFile } from './compose-file.ts'
import { freePort, NodeProcess } from './node-process.ts'

export class ComposeCluster {
  readonly nodes: ReadonlyMap<string, NodeProcess>
  readonly #file: ComposeFile

  private constructor(file: ComposeFile, nodes: ReadonlyMap<string, NodeProcess>) {
    this.#file = file
    this.nodes = nodes
  }

  /** `isolated`: on free ports instead of the published ones, so that several may run. Resolves when every node is ready. */
  static async start(dataDir: string, options: { readonly isolated: boolean }): Promise<ComposeCluster> {
    const file = readComposeFile()
    const ports = new Map<string, number>()
    for (const { name, port } of file.services) ports.set(name, options.isolated ? await freePort() : port.host)
    const nodes = new Map(
      file.services.map((service) => {
        const directory = join(dataDir, service.name)
        mkdirSync(directory, { recursive: true })
        return [
          service.name,
          NodeProcess.fromEnvironment(ports.get(service.name) as number, processEnvironment(file, service, ports, directory)),
        ]
      }),
    )
    const cluster = new ComposeCluster(file, nodes)
    try {
      await Promise.all([...nodes.values()].map((node) => node.start()))
    } catch (error) {
      await cluster.stop('SIGKILL')
      throw error
    }
    return cluster
  }

  get addresses(): string[] {
    return [...this.nodes.values()].map(({ address }) => address)
  }

  /** Runs a service's own health check against its process. */
  isHealthy(name: string): boolean {
    const service = this.#file.services.find((one) => one.name === name)
    const node = this.nodes.get(name)
    if (service === undefined || node === undefined) throw new Error(`no service named ${name}`)
    const [program = '', ...rest] = service.healthcheck
    const mapped = rest.map((argument) => argument.replaceAll(`127.0.0.1:${service.port.container}`, node.address))
    return spawnSync(program === 'node' ? process.execPath : program, mapped).status === 0
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await Promise.all([...this.nodes.values()].map((node) => node.stop(signal)))
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { 'data-dir': { type: 'string', default: './compose-data' } } })
  const startedMs = performance.now()
  const starting = ComposeCluster.start(resolve(values['data-dir']), { isolated: false })
  // Also while it starts: its nodes would go on without it.
  const stop = (): void => {
    starting
      .then((cluster) => cluster.stop())
      .then(
        () => process.exit(0),
        (error: unknown) => {
          console.error(error)
          process.exit(1)
        },
      )
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  const cluster = await starting
  console.log(`ready after ${Math.round(performance.now() - startedMs)} ms: ${cluster.addresses.join(', ')}`)
  for (const name of cluster.nodes.keys()) console.log(`${name}: ${cluster.isHealthy(name) ? 'healthy' : 'unhealthy'}`)
}

if (process.argv[1] !== undefined && import.meta.filename === resolve(process.argv[1])) await main()
