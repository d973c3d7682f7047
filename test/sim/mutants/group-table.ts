/** Planted mistakes of consumer groups: M28 of the list of known ones, and some of our own. */
import type { Mutant } from './mutant.ts'

export const GROUP_MUTANTS: readonly Mutant[] = [
  {
    id: 'M28',
    what: 'commits are not fenced',
    file: 'broker/groups/offsets.ts',
    find: '  if (member === undefined || held?.assigned === assignedEpoch) return\n',
    replace: '  if (member === undefined || assignedEpoch >= 0) return\n',
    tests: ['test/broker/groups/offsets.test.ts'],
  },
  {
    id: 'T01',
    what: 'a partition is given to the next member before the former one has let go',
    file: 'broker/groups/reconcile.ts',
    find: '    return present === undefined ? !owners.has(key) : present.revoked !== 0\n',
    replace: '    return present === undefined || present.revoked !== 0\n',
  },
  {
    id: 'T02',
    what: 'members are answered before what they are told is committed',
    file: 'broker/groups/group-shard.ts',
    find: '      return this.#whenCommitted(group).then(() => told)\n',
    replace: '      this.#whenCommitted(group).catch(() => {})\n      return Promise.resolve(told)\n',
  },
  {
    id: 'T03',
    what: 'a coordinator that takes over does not read what its predecessor wrote last',
    file: 'broker/groups/group-log.ts',
    find: '    const endOffset = log.logEndOffset\n',
    replace: '    const endOffset = this.#partition.highWatermark\n',
  },
  {
    id: 'T04',
    what: 'what a member holds that has gone silent is given away before its session has ended',
    file: 'broker/groups/sessions.ts',
    find: '(session.graceMs ?? member.sessionTimeoutMs)',
    replace: '(session.graceMs ?? member.sessionTimeoutMs / 4)',
  },
  {
    id: 'T05',
    what: 'a late commit takes an offset back',
    file: 'broker/groups/offsets.ts',
    find: '    if (offset < present.offset && !mayGoBack) return present\n',
    replace: '',
    tests: ['test/broker/groups/offsets.test.ts'],
  },
]
