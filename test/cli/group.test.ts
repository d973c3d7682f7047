import { describe, expect, it } from 'vitest'
import { roughly } from '../../cli/group.ts'
import { parseTarget, undoOf } from '../../cli/group-reset.ts'
import { useNode } from './node.ts'
import { finished, startCli, untilPrinted } from './support.ts'

const { cli, env, json, createTopic, node } = useNode()

/** A topic with ten records in each partition. */
async function filled(name: string, partitions = 1): Promise<string> {
  await createTopic(name, partitions)
  const tm = await node().connect()
  for (let partition = 0; partition < partitions; partition++)
    await tm.producer().send(
      name,
      Array.from({ length: 10 }, (_, n) => ({ value: `${n}`, partition })),
    )
  return name
}

describe('consume -g', () => {
  it('says once that a member is idle because there are more members than partitions; not with --quiet, nor to a program', async () => {
    const topic = await filled('narrow')
    const args = ['consume', topic, '-g', 'crowd', '--offset', 'start']
    const reading = startCli(args, { env: env() })
    await untilPrinted(reading, /^9$/m)
    const reserves = [
      startCli(args, { env: env() }),
      startCli([...args, '--quiet'], { env: env() }),
      startCli([...args, '-o', 'jsonl'], { env: env() }),
    ]
    const ended = reserves.map((one) => finished(one))
    await untilPrinted(reserves[0] as (typeof reserves)[number], /more members than partitions/)
    await expect.poll(() => json('group', 'list')).toContainEqual(expect.objectContaining({ group: 'crowd', members: 4, idle: 3 }))
    for (const one of [...reserves, reading]) one.kill('SIGINT')
    const [loud, quiet, program] = await Promise.all(ended)
    const sentence = 'group crowd has more members than partitions: this one has none, and waits until it is needed\n'
    expect([loud?.stderr, quiet?.stderr, program?.stderr]).toEqual([sentence, '', ''])
  })

  it('goes on where the group has come to, and wants to know where a new one begins', async () => {
    const topic = await filled('resumed')
    expect(await cli(['consume', topic, '-g', 'printers', '-n', '1'])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/has not committed an offset of resumed-0 \[OFFSET_NOT_COMMITTED\].*--offset/) as unknown,
    })
    expect((await cli(['consume', topic, '-g', 'printers', '-n', '4', '--offset', 'start'])).stdout).toBe('0\n1\n2\n3\n')
    expect((await cli(['consume', topic, '-g', 'printers', '-n', '2'])).stdout).toBe('4\n5\n')
    expect((await cli(['consume', topic, '-g', 'others', '-n', '1', '--offset', '-2'])).stdout).toBe('8\n')
    expect(await json('group', 'lag', 'printers')).toMatchObject([{ topic, partition: 0, committed: 6, highWatermark: 10, lag: 4 }])
  })

  it.each([['-e'], ['-p', '0'], ['--offset', '1:5']])('does not go with %s', async (...flags) => {
    expect(await cli(['consume', 't', '-g', 'g', ...flags])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/\[USAGE\]/) as unknown,
    })
  })
})

describe('group', () => {
  it('lists, describes with members, and watches', async () => {
    const topic = await filled('watched', 2)
    const tm = await node().connect()
    const member = tm.consumer(topic, { group: 'watchers', start: 'earliest' })
    const read = Promise.withResolvers<void>()
    let count = 0
    const run = member.run(() => {
      if (++count === 20) read.resolve()
    })
    await read.promise
    await expect.poll(() => json('group', 'lag', 'watchers')).toMatchObject([{ lag: 0 }, { lag: 0 }])
    expect(await json('group', 'list')).toContainEqual({ group: 'watchers', state: 'stable', members: 1, idle: 0, topics: [topic] })
    expect(await json('group', 'describe', 'watchers')).toMatchObject([
      {
        group: 'watchers',
        state: 'stable',
        members: [{ memberId: member.memberId, assigned: [{ partition: 0 }, { partition: 1 }] }],
        partitions: [
          { partition: 0, committed: 10, lag: 0, memberId: member.memberId },
          { partition: 1, committed: 10, lag: 0 },
        ],
      },
    ])
    const { stdout } = await cli(['group', 'describe', 'watchers'])
    expect(stdout).toMatch(/^group +state +assignor +epoch +coordinator\nwatchers +stable +uniform/)
    expect(stdout).toMatch(new RegExp(`\\nwatched +1 +10 +10 +0 +0ms +0ms +${member.memberId}`))
    const watching = startCli(['group', 'describe', 'watchers', '--watch'], { env: env() })
    await untilPrinted(watching, /watchers +stable[^]*watchers +stable/)
    watching.kill('SIGINT')
    expect(await finished(watching)).toMatchObject({ code: 0 })
    await member.close()
    await run
  })

  it('resets with a preview, says how to undo it, and that works', async () => {
    const topic = await filled('moved', 2)
    await cli(['consume', topic, '-g', 'movers', '-n', '10', '--offset', 'start', '-o', 'jsonl'])
    // How long it lags changes by itself.
    const committed = async (): Promise<number[]> =>
      ((await json('group', 'lag', 'movers')) as { committed: number }[]).map((one) => one.committed)
    const before = await committed()
    const preview = await cli(['group', 'reset', 'movers', '--to', '+2', '--dry-run', '-o', 'json'])
    expect(preview.stderr).toBe('nothing was changed (--dry-run)\n')
    expect(await committed()).toEqual(before)
    const done = await cli(['group', 'reset', 'movers', '--to', '-3', '--yes'])
    expect(done).toMatchObject({ code: 0, stderr: expect.stringMatching(/^undo: tidemark group reset movers --to moved:/) as unknown })
    expect(await committed()).not.toEqual(before)
    const undo = /^undo: tidemark (.*)$/m.exec(done.stderr)?.[1]?.split(' ') ?? []
    expect(await cli(undo)).toMatchObject({ code: 0 })
    expect(await committed()).toEqual(before)
  })

  it('resets a group at work: whoever reads in it begins again there', async () => {
    const topic = await filled('rewound')
    const reading = startCli(['consume', topic, '-g', 'rewinders', '--offset', 'start'], { env: env() })
    await untilPrinted(reading, /^9$/m)
    const again = untilPrinted(reading, /^9$/m)
    expect(await cli(['group', 'reset', 'rewinders', '--to', 'earliest', '--topic', topic, '--yes'])).toMatchObject({ code: 0 })
    await again
    reading.kill('SIGINT')
    expect(await finished(reading)).toMatchObject({ code: 130 })
  })

  it('resets a group that has nothing yet, and undoes that', async () => {
    const topic = await filled('fresh')
    const done = await cli(['group', 'reset', 'newcomers', '--to', '4', '--topic', topic, '--yes', '-o', 'json'])
    expect(JSON.parse(done.stdout)).toEqual([{ topic, partition: 0, from: null, to: 4, member: null }])
    expect(done.stderr).toBe('undo: tidemark group delete newcomers --topic fresh:0 --yes\n')
    expect((await cli(['consume', topic, '-g', 'newcomers', '-n', '1'])).stdout).toBe('4\n')
    expect(await cli(['group', 'delete', 'newcomers', '--topic', 'fresh:0', '--yes'])).toMatchObject({ code: 0 })
    expect(await cli(['group', 'reset', 'nobody', '--to', 'earliest', '--yes'])).toMatchObject({ code: 3 })
  })

  it('asks before it changes anything, and deletes only groups that nobody is in', async () => {
    const topic = await filled('deleted')
    await cli(['consume', topic, '-g', 'leavers', '-n', '1', '--offset', 'start'])
    expect(await cli(['group', 'delete', 'leavers'])).toMatchObject({ code: 2, stderr: expect.stringMatching(/--yes/) as unknown })
    const member = (await node().connect()).consumer(topic, { group: 'leavers', start: 'earliest' })
    const assigned = Promise.withResolvers<void>()
    member.on('assigned', () => assigned.resolve())
    const run = member.run(() => {})
    await assigned.promise
    expect(await cli(['group', 'delete', 'leavers', '--yes'])).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/\[NON_EMPTY_GROUP\]/) as unknown,
    })
    await member.close()
    await run
    expect(await cli(['group', 'delete', 'leavers', '--yes'])).toMatchObject({ code: 0, stderr: 'leavers deleted\n' })
    expect(await cli(['group', 'describe', 'leavers'])).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/\[GROUP_ID_NOT_FOUND\]/) as unknown,
    })
  })

  it('names are completed, behind verbs and behind -g', async () => {
    const topic = await filled('completed')
    await cli(['consume', topic, '-g', 'completers', '-n', '1', '--offset', 'start'])
    for (const words of [
      ['group', 'describe'],
      ['consume', topic, '-g'],
    ]) {
      expect((await cli(['complete', '--', ...words])).stdout.split('\n')).toContain('completers')
    }
  })
})

it.each([
  [0, '0ms'],
  [1631, '2s'],
  [119_000, '119s'],
  [150_000, '3m'],
  [7_200_000, '2h'],
  [200_000_000, '2d'],
])('%d ms are shown as %s', (ms, text) => {
  expect(roughly(ms)).toBe(text)
})

describe('a target', () => {
  it.each([
    ['earliest', 'earliest'],
    ['latest', 'latest'],
    ['+5', { shift: 5 }],
    ['-5', { shift: -5 }],
    ['7', { all: 7n }],
    ['@1795000000000', { at: 1_795_000_000_000 }],
    ['@-1h', { at: 0 }],
    [
      'a.b:0=5,c:12=0',
      {
        offsets: [
          { topic: 'a.b', partition: 0, offset: 5n },
          { topic: 'c', partition: 12, offset: 0n },
        ],
      },
    ],
  ])('%s', (text, target) => {
    expect(parseTarget(text, 3_600_000)).toEqual(target)
  })

  it.each(['', 'x', '@', '1:2', 'a:0', 'a:x=1', '@1:2'])('is not %j', (text) => {
    expect(() => parseTarget(text, 0)).toThrow('no place to go to')
  })

  it('that changes nothing needs no undo, and groups are words of a shell', () => {
    const result = { topic: 't', partition: 0, offset: 4n, isClamped: false, memberId: '', error: undefined }
    expect(undoOf('g', [{ ...result, previous: 4n }])).toEqual([])
    expect(undoOf("it's", [{ ...result, previous: 3n }])).toEqual(["undo: tidemark group reset 'it'\\''s' --to t:0=3 --yes"])
  })
})
