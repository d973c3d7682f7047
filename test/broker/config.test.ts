import { describe, expect, it } from 'vitest'
import { type ConfigSources, defaultNodeConfig, environmentName, loadNodeConfig } from '../../broker/config.ts'
import { NODE_SETTINGS } from '../../broker/node-settings.ts'
import { parseListenAddress } from '../../broker/setting-values.ts'
import { TOPIC_SETTINGS } from '../../protocol/topic-config.ts'
import { parseSize } from '../../protocol/units.ts'

const entryOf = (sources: ConfigSources, key: string) => loadNodeConfig(sources).entries.find((entry) => entry.key === key)
const invalid = (message: RegExp) => expect.objectContaining({ code: 'INVALID_CONFIG', message: expect.stringMatching(message) })

describe('where a setting comes from', () => {
  const flags = { data_dir: 'by-flag' }
  const environment = { TIDEMARK_DATA_DIR: 'by-environment' }
  const file = { data_dir: 'by-file' }

  it.each([
    [{ flags, environment, file }, 'by-flag', 'flag'],
    [{ environment, file }, 'by-environment', 'environment'],
    [{ file }, 'by-file', 'file'],
    [{ file, defaults: { data_dir: 'by-command' } }, 'by-file', 'file'],
    [{ defaults: { data_dir: 'by-command' } }, 'by-command', 'default'],
    [{}, './tidemark-data', 'default'],
  ])('%j gives %s, from the %s', (sources, value, source) => {
    expect(loadNodeConfig(sources).config.dataDir).toBe(value)
    expect(entryOf(sources, 'data_dir')).toMatchObject({ value, source })
  })

  it('counts an empty variable as not set', () => {
    expect(entryOf({ environment: { TIDEMARK_LISTEN: '' } }, 'listen')).toMatchObject({ value: '127.0.0.1:9092', source: 'default' })
  })

  it('finds settings of a section by nesting, by a dotted key and by an underscore in the environment', () => {
    expect(environmentName('limits.fetch_bytes')).toBe('TIDEMARK_LIMITS_FETCH_BYTES')
    const sources = [
      { file: { limits: { fetch_bytes: '2MiB' } } },
      { file: { 'limits.fetch_bytes': '2MiB' } },
      { environment: { TIDEMARK_LIMITS_FETCH_BYTES: '2MiB' } },
      { flags: { 'limits.fetch_bytes': '2097152' } },
    ]
    expect(sources.map((source) => loadNodeConfig(source).config.limits.fetchBytesMax)).toEqual(sources.map(() => 2 * 1024 * 1024))
  })

  it('leaves variables of others alone', () => {
    expect(() => loadNodeConfig({ environment: { TIDEMARK_SERVICE_HOST: 'x', TIDEMARK_BOOTSTRAP: 'y' } })).not.toThrow()
  })
})

describe('values', () => {
  it('become numbers of bytes and milliseconds, lists and booleans', () => {
    const { config } = loadNodeConfig({
      file: {
        retention_check: '1.5m',
        roles: ['broker', 'controller'],
        auto_create_topics: true,
        node_id: 7,
        limits: { tail_cache: '1GiB' },
      },
    })
    expect(config).toMatchObject({ retentionCheckMs: 90_000, roles: ['broker', 'controller'], autoCreateTopics: true, nodeId: 7 })
    expect(config.limits.tailCacheBytes).toBe(1024 ** 3)
  })

  it.each([
    ['9092', { host: '127.0.0.1', port: 9092 }],
    ['localhost:0', { host: 'localhost', port: 0 }],
    ['[::1]:9092', { host: '::1', port: 9092 }],
  ])('%s is an address', (text, address) => {
    expect(parseListenAddress('listen', text)).toEqual(address)
  })

  it.each(['', 'nowhere', '127.0.0.1:', '127.0.0.1:99999', '::1:9092', 'a b:1'])('%j is no address', (text) => {
    expect(() => parseListenAddress('listen', text)).toThrow(invalid(/listen is/))
  })

  it.each([
    ['node_id', '-1', /whole number/],
    ['node_id', '4294967296', /allowed is 0 to 2147483647/],
    ['insecure', 'yes', /true or false/],
    ['log_level', 'loud', /debug, info, warn, error, silent/],
    ['roles', 'broker,broker', /broker, controller or both/],
    ['roles', 'broker', /needs `join`/],
    ['retention_check', '1ms', /100ms to 1d/],
    ['limits.fetch_bytes', '3 bananas', /a size such as/],
  ])('%s=%s is refused with what is allowed', (key, text, message) => {
    expect(() => loadNodeConfig({ flags: { [key]: text } })).toThrow(invalid(message))
  })
})

describe('keys', () => {
  it.each([
    [{ flags: { listne: '1' } }, /unknown setting "listne" \(flag\); did you mean listen\?/],
    [{ file: { limits: { fetch_byte: 1 } }, filePath: 'my.yaml' }, /"limits\.fetch_byte" \(my\.yaml\); did you mean limits\.fetch_bytes\?/],
    [{ file: { completely_else: 1 } }, /unknown setting "completely_else"/],
  ])('that nobody knows are refused: %j', (sources, message) => {
    expect(() => loadNodeConfig(sources)).toThrow(invalid(message))
  })

  it.each([['just text'], [[1, 2]], [7]])('a file that is %j is refused', (file) => {
    expect(() => loadNodeConfig({ file, filePath: 'my.yaml' })).toThrow(invalid(/my\.yaml: settings have names/))
  })

  it('that hold themselves, as an alias of YAML can, are no settings', () => {
    const file: Record<string, unknown> = {}
    file.limits = file
    expect(() => loadNodeConfig({ file })).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
  })

  it('an empty file is fine', () => {
    expect(loadNodeConfig({ file: null }).config).toEqual(loadNodeConfig({}).config)
  })
})

describe('listening', () => {
  it.each(['127.0.0.1:1', '127.9.9.9:1', 'localhost:1', '[::1]:1'])('on %s needs nobody to insist', (listen) => {
    expect(() => loadNodeConfig({ flags: { listen } })).not.toThrow()
  })

  it.each(['0.0.0.0:1', '[::]:1', '192.168.1.4:1', 'example.com:1'])('on %s is refused unless it is meant', (listen) => {
    expect(() => loadNodeConfig({ flags: { listen } })).toThrow(expect.objectContaining({ code: 'INSECURE_LISTEN' }))
    expect(loadNodeConfig({ flags: { listen, insecure: 'true' } }).config.insecure).toBe(true)
  })
})

describe('what others are told', () => {
  const listen = '0.0.0.0:9092'
  const load = (flags: Readonly<Record<string, string>>) => loadNodeConfig({ flags: { listen, insecure: 'true', ...flags } })

  it.each(['0.0.0.0:9092', '[::]:9092', '[0:0:0:0:0:0:0:0]:9092', 'example.com:0', 'example.com:9092,0.0.0.0:9092'])(
    'must be something they can dial: %s is not',
    (advertise) => {
      expect(() => load({ advertise })).toThrow(invalid(/nobody can dial/))
    },
  )

  it.each([{ join: '10.0.0.1:9092' }, { voters: '2@10.0.0.2:9092', roles: 'broker' }])(
    'has to be said where there are other nodes: %j',
    (flags) => {
      expect(() => load(flags)).toThrow(invalid(/0\.0\.0\.0:9092 .* set advertise/))
      expect(() => load({ ...flags, advertise: '10.0.0.9:9092' })).not.toThrow()
    },
  )

  it.each([{}, { voters: '1@10.0.0.1:9092,2@10.0.0.2:9092' }])('need not be said where it is known, or nobody asks: %j', (flags) => {
    expect(() => load(flags)).not.toThrow()
  })
})

describe('the table', () => {
  it('has defaults that pass its own rules, and every setting reaches the config', () => {
    const { config, entries } = loadNodeConfig({})
    expect(entries.map(({ key }) => key)).toEqual(Object.keys(NODE_SETTINGS))
    const { limits, groups, ...rest } = config
    expect(Object.keys(limits).length + Object.keys(groups).length + Object.keys(rest).length).toBe(entries.length)
    expect([...Object.values(limits), ...Object.values(groups), ...Object.values(rest)].some((value) => Number.isNaN(value))).toBe(false)
  })

  it('lets a request carry the largest batch a topic may allow', () => {
    const type = TOPIC_SETTINGS['max.message.bytes']?.type as { readonly max: number }
    const requestBytes = parseSize(NODE_SETTINGS['limits.request_bytes']?.defaultText ?? '', 'limits.request_bytes')
    expect(requestBytes).toBeGreaterThan(type.max)
  })

  it('gives configs that nobody can change', () => {
    const config = defaultNodeConfig({ nodeId: 3, limits: { fetchBytesMax: 5 } })
    expect(config).toMatchObject({ nodeId: 3, limits: { fetchBytesMax: 5, openFilesMax: 4096 } })
    expect([Object.isFrozen(config), Object.isFrozen(config.limits), Object.isFrozen(loadNodeConfig({}).config)]).toEqual([
      true,
      true,
      true,
    ])
  })
})
