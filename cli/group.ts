/** `tidemark group …`: who reads what, how far groups have come, and where they shall go on. */
import type { Command } from 'commander'
import type { GroupDescription, GroupPartition, Tidemark } from '../client/index.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { collect } from './arguments.ts'
import { type GlobalOptions, interruptSignal, withClient } from './context.ts'
import { addGroupReset, selectionOf } from './group-reset.ts'
import { note, printRows, type Row, write } from './output.ts'
import { confirm } from './prompt.ts'

const WATCH_EVERY_MS = 2000

export function addGroup(program: Command): void {
  const group = program.command('group').description('look at consumer groups, set them to other offsets, delete them')
  group
    .command('list')
    .description('all groups')
    .action((_flags: object, command: Command) => list(command.optsWithGlobals()))
  group
    .command('describe <group>')
    .description('members, partitions, offsets and lag of a group')
    .option('-w, --watch', 'again every two seconds')
    .action((name: string, flags: { watch?: boolean }, command: Command) => describe(name, flags.watch ?? false, command.optsWithGlobals()))
  group
    .command('lag [group]')
    .description('how far a group is behind in each partition; without a group, all of them')
    .action((name: string | undefined, _flags: object, command: Command) => lag(name, command.optsWithGlobals()))
  addGroupReset(group)
  group
    .command('delete <groups...>')
    .description('delete groups without members, with their offsets')
    .option('--topic <topic[:partitions]>', 'only offsets of this topic; may be repeated', collect, [] as readonly string[])
    .action((names: readonly string[], flags: { topic: readonly string[] }, command: Command) =>
      remove(names, flags.topic, command.optsWithGlobals()),
    )
}

function list(options: GlobalOptions): Promise<void> {
  return withClient(options, async ({ admin }) => {
    const groups = await admin.groups.list()
    await printRows(
      groups.map(({ group, state, memberCount, idleMemberCount, topics }) => ({
        group,
        state,
        members: memberCount,
        idle: idleMemberCount,
        topics: options.output === 'table' ? topics.join(' ') : topics,
      })),
      options.output,
    )
  })
}

function describe(name: string, isWatching: boolean, options: GlobalOptions): Promise<void> {
  return withClient(options, async (tm) => {
    if (!isWatching) {
      await printGroup(await tm.admin.groups.describe(name), options)
      return
    }
    const signal = interruptSignal()
    while (!signal.aborted) {
      const group = await tm.admin.groups.describe(name, { signal })
      if (process.stdout.isTTY && options.output === 'table') await write('\u001B[2J\u001B[H')
      await printGroup(group, options)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, WATCH_EVERY_MS)
        signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
      })
    }
  })
}

async function printGroup(group: GroupDescription, options: GlobalOptions): Promise<void> {
  if (options.output !== 'table') {
    await printRows([{ ...group, partitions: group.partitions.map((one) => ({ ...one, error: one.error?.code })) }], options.output)
    return
  }
  const { state, assignor, epoch, coordinatorId, members, partitions } = group
  await printRows([{ group: group.group, state, assignor: assignor || undefined, epoch, coordinator: coordinatorId }], 'table')
  if (members.length > 0) {
    await write('\n')
    await printRows(
      members.map(({ memberId, instanceId, clientId, peer, assigned, revoking, isIdle, isAway, silentMs }) => ({
        member: memberId,
        ...(members.some((one) => one.instanceId !== '') && { instance: instanceId || undefined }),
        client: clientId || undefined,
        address: peer || undefined,
        partitions: assigned.length,
        revoking: revoking.length,
        state: isAway ? 'away' : isIdle ? 'idle' : 'active',
        heard: `${roughly(silentMs)} ago`,
      })),
      'table',
    )
  }
  if (partitions.length > 0) {
    await write('\n')
    await printRows(partitions.map(rowOf), 'table')
  }
}

function lag(name: string | undefined, options: GlobalOptions): Promise<void> {
  return withClient(options, async (tm) => {
    if (name !== undefined) {
      const { partitions } = await tm.admin.groups.describe(name)
      if (options.output !== 'table') await printRows(partitions.map(plainLag), options.output)
      else await printRows(partitions.map(rowOf), 'table')
      return
    }
    await printRows(await lagOfAll(tm, options), options.output)
  })
}

async function lagOfAll({ admin }: Tidemark, options: GlobalOptions): Promise<Row[]> {
  const rows: Row[] = []
  for (const { group } of await admin.groups.list()) {
    try {
      const { state, members, partitions } = await admin.groups.describe(group)
      const behindMs = Math.max(0, ...partitions.map(({ lagMs }) => lagMs ?? 0))
      const noProgressMs = Math.max(0, ...partitions.map((one) => one.noProgressMs ?? 0))
      rows.push({
        group,
        state,
        members: members.length,
        lag: partitions.reduce((sum, one) => sum + (one.lag ?? 0n), 0n),
        ...(options.output === 'table'
          ? { behind: roughly(behindMs), 'no progress': roughly(noProgressMs) }
          : { lagMs: behindMs, noProgressMs }),
      })
    } catch (error) {
      // It was deleted meanwhile.
      if (!TidemarkError.is(error) || error.code !== 'GROUP_ID_NOT_FOUND') throw error
    }
  }
  return rows
}

/** For people. */
function rowOf({ topic, partition, committed, highWatermark, lag: records, lagMs, noProgressMs, memberId, error }: GroupPartition): Row {
  return {
    topic,
    partition,
    committed,
    end: highWatermark,
    lag: error === undefined ? records : error.code,
    behind: lagMs === undefined ? undefined : roughly(lagMs),
    'no progress': noProgressMs === undefined ? undefined : roughly(noProgressMs),
    member: memberId || undefined,
  }
}

function plainLag({ topic, partition, committed, highWatermark, lag: records, lagMs, noProgressMs, memberId, error }: GroupPartition): Row {
  return { topic, partition, committed, highWatermark, lag: records, lagMs, noProgressMs, memberId, error: error?.code }
}

async function remove(names: readonly string[], topics: readonly string[], options: GlobalOptions): Promise<void> {
  const selection = topics.map(selectionOf)
  const what = topics.length === 0 ? 'with all offsets' : `their offsets of ${topics.join(', ')}`
  await confirm(`Delete ${names.join(', ')} ${what}`, options)
  await withClient(options, async ({ admin }) => {
    for (const name of names) {
      if (selection.length === 0) {
        await admin.groups.delete(name)
        note(`${name} deleted`)
      } else {
        const deleted = await admin.groups.deleteOffsets(name, selection)
        note(`${name}: ${deleted.length} offsets deleted`)
      }
    }
  })
}

/** A time for people: one number and its unit. */
export function roughly(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`
  for (const [unitMs, unit, most] of [
    [1000, 's', 120],
    [60_000, 'm', 120],
    [3_600_000, 'h', 48],
  ] as const)
    if (ms < most * unitMs) return `${Math.round(ms / unitMs)}${unit}`
  return `${Math.round(ms / 86_400_000)}d`
}
