/** docker-compose.yml as data: read, checked for what is known of such files, and mapped to processes on this machine. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { root } from './tools.ts'

export interface ComposeService {
  readonly name: string
  readonly environment: Readonly<Record<string, string>>
  /** Host and container. */
  readonly port: { readonly host: number; readonly container: number }
  /** Where in the container its volume is. */
  readonly volumePath: string
  /** The arguments of the health check's program. */
  readonly healthcheck: readonly string[]
}

export interface ComposeFile {
  readonly services: readonly ComposeService[]
}

type Check = (value: unknown) => boolean

const isText: Check = (value) => typeof value === 'string'
const isDuration: Check = (value) => typeof value === 'string' && /^(\d+(h|m|s|ms))+$/.test(value)
const isTexts: Check = (value) => Array.isArray(value) && value.every(isText)
const isMap: Check = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)

/** The parts of the compose specification that the file uses; anything else in it is a mistake, or has to be added here. */
const SERVICE_KEYS: Readonly<Record<string, Check>> = {
  build: isText,
  image: isText,
  pull_policy: (value) => ['never', 'build'].includes(value as string),
  init: (value) => typeof value === 'boolean',
  restart: (value) => ['no', 'always', 'on-failure', 'unless-stopped'].includes(value as string),
  stop_grace_period: isDuration,
  read_only: (value) => typeof value === 'boolean',
  hostname: isText,
  healthcheck: isMap,
  environment: (value) => isMap(value) && Object.values(value as object).every(isText),
  ports: isTexts,
  volumes: isTexts,
}

const HEALTHCHECK_KEYS: Readonly<Record<string, Check>> = {
  test: (value) => isTexts(value) && (value as string[])[0] === 'CMD',
  interval: isDuration,
  timeout: isDuration,
  retries: (value) => Number.isInteger(value),
  start_period: isDuration,
}

/** Throws an `Error` that says what is wrong with the file. */
export function readComposeFile(path: string = join(root, 'docker-compose.yml')): ComposeFile {
  const file = parse(readFileSync(path, 'utf8'), { merge: true }) as Record<string, unknown>
  for (const key of Object.keys(file)) check(['name', 'services', 'volumes'].includes(key) || key.startsWith('x-'), `unknown key ${key}`)
  check(isMap(file.services) && isMap(file.volumes), 'services and volumes are maps')
  const volumes = new Set(Object.keys(file.volumes as object))
  const services = Object.entries(file.services as Record<string, Record<string, unknown>>).map(([name, service]) =>
    serviceOf(name, service, volumes),
  )
  const hostPorts = services.map(({ port }) => port.host)
  const made = Object.values(file.services as Record<string, Record<string, unknown>>)
  check(made.filter(({ build }) => build !== undefined).length === 1, 'one service builds the image')
  check(new Set(made.map(({ image }) => image)).size === 1, 'every service runs the same image')
  check(new Set(hostPorts).size === hostPorts.length, 'every service is published at a port of its own')
  return { services }
}

function serviceOf(name: string, service: Record<string, unknown>, volumes: ReadonlySet<string>): ComposeService {
  checkKeys(`service ${name}`, service, SERVICE_KEYS)
  checkKeys(`the health check of ${name}`, service.healthcheck as Record<string, unknown>, HEALTHCHECK_KEYS)
  const [published, ...otherPorts] = service.ports as string[]
  const match = /^(?:[\d.]+:)?(\d+):(\d+)$/.exec(published ?? '')
  check(match !== null && otherPorts.length === 0, `service ${name} publishes one port`)
  const [volume = '', volumePath = ''] = ((service.volumes as string[])[0] ?? '').split(':')
  check(volumes.has(volume) && volumePath.startsWith('/'), `service ${name} keeps its data in a named volume`)
  return {
    name,
    environment: service.environment as Record<string, string>,
    port: { host: Number(match?.[1]), container: Number(match?.[2]) },
    volumePath,
    healthcheck: ((service.healthcheck as Record<string, string[]>).test ?? []).slice(1),
  }
}

function checkKeys(where: string, values: Record<string, unknown>, keys: Readonly<Record<string, Check>>): void {
  for (const [key, value] of Object.entries(values)) {
    const isRight = keys[key]
    check(isRight !== undefined, `${where}: unknown key ${key}`)
    check(isRight?.(value) === true, `${where}: ${key} cannot be ${JSON.stringify(value)}`)
  }
}

function check(isRight: boolean, problem: string): asserts isRight {
  if (!isRight) throw new Error(`docker-compose.yml: ${problem}`)
}

/** Where a service's port is on this machine. */
export type PortMap = ReadonlyMap<string, number>

/** The environment of a service for a process here: names of services and published ports become loopback addresses, its volume a directory. */
export function processEnvironment(file: ComposeFile, service: ComposeService, ports: PortMap, dataDir: string): Record<string, string> {
  const map = (text: string): string => {
    let mapped = text.replaceAll(service.volumePath, dataDir)
    for (const { name, port } of file.services) {
      const here = ports.get(name) ?? port.host
      mapped = mapped.replaceAll(`${name}:${port.container}`, `127.0.0.1:${here}`).replaceAll(`localhost:${port.host}`, `localhost:${here}`)
    }
    return mapped.replaceAll(`0.0.0.0:${service.port.container}`, `127.0.0.1:${ports.get(service.name) ?? service.port.host}`)
  }
  return Object.fromEntries(
    Object.entries(service.environment).map(([key, value]) => [
      key,
      key === 'TIDEMARK_DATA_DIR' || value.includes(':') ? map(value) : value,
    ]),
  )
}
