import { beforeAll, describe, expect, it } from 'vitest'
import { useNode } from './node.ts'
import { finished, startCli, untilPrinted } from './support.ts'

const { cli, createTopic, env } = useNode()

beforeAll(async () => {
  await createTopic('ten')
  await cli(['produce', 'ten'], '0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n')
})

describe('produce and consume', () => {
  it('carry keys, headers, odd characters and bytes unchanged', async () => {
    const topic = await createTopic('unchanged')
    const sent = await cli(['produce', topic, '--key-separator', '=', '-H', 'source=test'], 'k1=v1\nk2=a=b\n=\u2028\r\nk3=ü')
    expect(sent).toMatchObject({ code: 0, stdout: '', stderr: expect.stringMatching(/^4 records sent to unchanged in [\d.]+ s\n$/) })
    expect((await cli(['consume', topic, '-e', '-f', '%p %o %k|%v|%h\\n'])).stdout).toBe(
      '0 0 k1|v1|source=test\n0 1 k2|a=b|source=test\n0 2 |\u2028|source=test\n0 3 k3|ü|source=test\n',
    )
    const [last] = (await cli(['consume', topic, '--offset', '-1', '-e', '-o', 'jsonl'])).stdout.split('\n')
    expect(JSON.parse(last ?? '')).toMatchObject({ topic, partition: 0, offset: 3, key: 'k3', value: 'ü', headers: { source: 'test' } })
  })

  it('stream a hundred thousand lines, in order', async () => {
    const topic = await createTopic('many')
    const lines = Array.from({ length: 100_000 }, (_, number) => `line ${number}\n`).join('')
    expect(await cli(['produce', topic, '--compression', 'zstd', '-q'], lines)).toEqual({ code: 0, stdout: '', stderr: '' })
    expect((await cli(['consume', topic, '-e'])).stdout === lines).toBe(true)
  })

  it.each([
    [
      ['--offset', 'start', '-n', '2'],
      [0, 1],
    ],
    [
      ['--offset', '3:5'],
      [3, 4],
    ],
    [
      ['--offset', '+8', '-e'],
      [8, 9],
    ],
    [
      ['--offset', '-2', '-e'],
      [8, 9],
    ],
    [
      ['--offset', ':2'],
      [0, 1],
    ],
    [['--offset', '50', '-e'], []],
    [
      ['--offset', '8:50', '-e'],
      [8, 9],
    ],
    [['--offset', '@-1h:end', '-n', '1'], [0]],
    [['-e', '-n', '0'], []],
  ])('read %j', async (args, offsets) => {
    const { code, stdout } = await cli(['consume', 'ten', ...args])
    expect({ code, offsets: stdout.split('\n').slice(0, -1).map(Number) }).toEqual({ code: 0, offsets })
  })

  it('read only the partitions asked for, and say what is missing', async () => {
    const topic = await createTopic('parts', 3)
    for (const partition of ['0', '1', '2']) await cli(['produce', topic, '-p', partition], `in ${partition}\n`)
    expect((await cli(['consume', topic, '-p', '1', '-e'])).stdout).toBe('in 1\n')
    await cli(['produce', topic, '-p', '1'], 'more\nand more\n')
    expect((await cli(['consume', topic, '--offset', '2', '-n', '1'])).stdout).toBe('and more\n')
    expect((await cli(['consume', topic, '--offset', '0:1'])).stdout.split('\n').toSorted()).toEqual(['', 'in 0', 'in 1', 'in 2'])
    expect(await cli(['consume', topic, '-p', '7', '-e'])).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/\[UNKNOWN_PARTITION\]/),
    })
    expect(await cli(['produce', topic, '-p', '7'], 'x\n')).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/\[UNKNOWN_PARTITION\]/),
    })
  })

  it('send what came before a line that is wrong, and say which', async () => {
    const topic = await createTopic('half')
    expect(await cli(['produce', topic, '--key-separator', ':'], 'a:1\nb\n')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/line 2 has no ":": "b"/),
    })
    expect((await cli(['consume', topic, '-e'])).stdout).toBe('1\n')
  })

  it('end with the code of what is wrong', async () => {
    const topic = await createTopic('small')
    await cli(['topic', 'alter', topic, '-c', 'max.message.bytes=2KiB'])
    expect(await cli(['produce', topic], `${'x'.repeat(5000)}\n`)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/\[RECORD_TOO_LARGE\]/),
    })
    expect(await cli(['produce', 'nowhere'], 'x\n')).toMatchObject({ code: 3, stderr: expect.stringMatching(/\[UNKNOWN_TOPIC\]/) })
    expect(await cli(['produce', topic, '-f', '/nonexistent/file'])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/cannot be read.*\[USAGE\]/),
    })
  })

  it('follow new records until interrupted, then end with 130', async () => {
    const topic = await createTopic('follow')
    await cli(['produce', topic], 'old\n')
    const consumer = startCli(['consume', topic, '--offset', 'start'], { env: env() })
    const ended = finished(consumer)
    await untilPrinted(consumer, /old/)
    const arrived = untilPrinted(consumer, /new/)
    await cli(['produce', topic], 'new\n')
    await arrived
    consumer.kill('SIGINT')
    expect(await ended).toEqual({ code: 130, stdout: 'old\nnew\n', stderr: '' })
  })

  it('end quietly when the reader has had enough', async () => {
    const topic = await createTopic('pipe')
    await cli(['produce', topic], `${'x'.repeat(1000)}\n`.repeat(5000))
    const consumer = startCli(['consume', topic, '--offset', 'start'], { env: env() })
    const ended = finished(consumer)
    consumer.stdout?.once('data', () => consumer.stdout?.destroy())
    expect(await ended).toMatchObject({ code: 0, stderr: '' })
  })
})
