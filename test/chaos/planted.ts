/** Histories with one mistake each, and one without. */
import type { AnomalyKind } from '../../scripts/chaos/anomalies.ts'
import type { At, Entry, Happened, Latest, Looked, Seen } from '../../scripts/chaos/history.ts'

/** Writes a history, a millisecond an entry. */
export class Writing {
  readonly entries: Entry[] = []
  #t = 0
  #id = 0

  say(process: string, happened: Happened): this {
    this.entries.push({ process, t: ++this.#t, ...happened })
    return this
  }

  wait(ms: number): this {
    this.#t += ms
    return this
  }

  begin(process: string, value: string): number {
    this.say(process, { op: 'send', type: 'invoke', id: ++this.#id, value })
    return this.#id
  }

  sent(process: string, value: string, at: At): this {
    return this.say(process, { op: 'send', type: 'ok', id: this.begin(process, value), at })
  }

  notSent(process: string, value: string, type: 'fail' | 'info', error = 'DELIVERY_TIMED_OUT'): this {
    return this.say(process, { op: 'send', type, id: this.begin(process, value), error })
  }

  polled(process: string, records: readonly Seen[], epoch?: number): this {
    return this.say(process, { op: 'poll', partition: 0, records, ...(epoch === undefined ? {} : { epoch }) })
  }

  took(process: string, epoch: number, offset: number): this {
    return this.say(process, { op: 'take', at: [0, offset], epoch })
  }

  committed(process: string, epoch: number, offset: number): this {
    const id = ++this.#id
    this.say(process, { op: 'commit', type: 'invoke', id, at: [0, offset], epoch })
    return this.say(process, { op: 'commit', type: 'ok', id })
  }

  looked(what: Looked, offset: number): this {
    const id = ++this.#id
    this.say('observer.1', { op: 'look', type: 'invoke', id, what })
    return this.say('observer.1', { op: 'look', type: 'ok', id, at: [[0, offset]] })
  }

  put(process: string, key: string, value: string, at: At): this {
    const id = ++this.#id
    this.say(process, { op: 'put', type: 'invoke', id, key, value })
    return this.say(process, { op: 'put', type: 'ok', id, at })
  }

  latest(...records: readonly Latest[]): this {
    return this.say('final.1', { op: 'latest', partition: 0, records })
  }

  kept(start: number, end: number): this {
    return this.say('observer.1', { op: 'kept', partition: 0, start, end })
  }

  change(verb: 'create' | 'alter' | 'delete', value: string, error?: string): this {
    const id = ++this.#id
    this.say('t.1', { op: 'change', type: 'invoke', id, topic: 'T', verb, value })
    if (error === undefined) return this.say('t.1', { op: 'change', type: 'ok', id })
    return this.say('t.1', { op: 'change', type: 'info', id, error, why: error })
  }

  topics(found: Readonly<Record<string, string>>): this {
    return this.say('final.1', { op: 'topics', found })
  }

  final(...records: readonly Seen[]): this {
    return this.say('final.1', { op: 'final', partition: 0, records })
  }
}

/** Two idempotent producers, one that is not, a reader, and two members of a group. */
export function begun(): Writing {
  const writing = new Writing()
  for (const process of ['p.1', 'q.1']) writing.say(process, { op: 'start', role: 'producer', idempotent: true })
  writing.say('n.1', { op: 'start', role: 'producer', idempotent: false })
  writing.say('r.1', { op: 'start', role: 'reader' })
  for (const process of ['m.1', 'o.1']) writing.say(process, { op: 'start', role: 'member', group: 'g' })
  return writing
}

const A: Seen = [0, 'a']
const B: Seen = [1, 'b']

/** `a` and `b` are acknowledged at 0 and 1. */
function twoSent(): Writing {
  return begun().sent('p.1', 'a', [0, 0]).sent('p.1', 'b', [0, 1])
}

/** All that may happen to a cluster in trouble. */
export function clean(): Writing {
  const writing = twoSent()
  // A send that was given up and written, one that was not written, one whose process was killed, a copy of one who may write copies.
  writing.notSent('q.1', 'c', 'info').notSent('q.1', 'd', 'fail', 'BUFFER_FULL')
  writing.begin('q.1', 'e')
  writing.notSent('n.1', 'g', 'info', 'NOT_ENOUGH_REPLICAS_AFTER_APPEND')
  writing.sent('n.1', 'f', [0, 4])
  writing.polled('r.1', [A, B]).polled('r.1', [[2, 'c']])
  // A member commits, and is killed having handled more; the next one repeats that.
  writing.took('m.1', 1, 0).polled('m.1', [A], 1).committed('m.1', 1, 1).polled('m.1', [B], 1)
  writing.took('o.1', 2, 1)
  // It was stopped in the middle of being given a record.
  writing.polled('m.1', [[2, 'c']], 1)
  writing.polled('o.1', [B, [2, 'c'], [3, 'f'], [4, 'f']], 2).committed('o.1', 2, 5)
  writing.looked('end', 5).looked({ group: 'g' }, 5).looked('start', 0)
  writing.say('nemesis.1', { op: 'period', kinds: ['kill'] }).wait(90_000)
  writing.say('nemesis.1', { op: 'heal' }).wait(1000).sent('p.1', 'z', [0, 5])
  writing.say('nemesis.1', { op: 'whole' }).wait(60_000)
  writing.polled('o.1', [[5, 'z']], 2)
  writing.say('nemesis.1', { op: 'drained' })
  writing
    .polled('r.1', [
      [3, 'f'],
      [4, 'f'],
      [5, 'z'],
    ])
    .say('r.1', { op: 'stop' })
  keptClean(writing)
  return writing.final(A, B, [2, 'c'], [3, 'f'], [4, 'f'], [5, 'z'])
}

/** All that may happen to topics of which only a part stays. */
function keptClean(writing: Writing): void {
  // One value is compacted away, one was not acknowledged and stands; a key that was never acknowledged is not there.
  writing.put('k.1', 'x', 'k1', [0, 0]).put('k.1', 'x', 'k2', [0, 1]).put('k.1', 'y', 'k3', [0, 2])
  writing.say('k.1', { op: 'put', type: 'invoke', id: 900, key: 'y', value: 'k4' })
  writing.say('k.1', { op: 'put', type: 'invoke', id: 901, key: 'w', value: 'k5' })
  writing.latest([1, 'x', 'k2'], [3, 'y', 'k4'])
  writing.kept(0, 10).kept(100, 1000)
  // Created at the first attempt; a deletion that nobody knows the end of happens after the change that follows it.
  writing.change('delete', '-', 'UNKNOWN_TOPIC').change('create', '1').change('create', '2', 'TOPIC_ALREADY_EXISTS').change('alter', '3')
  writing.change('delete', '-', 'REQUEST_TIMED_OUT').change('alter', '4').topics({})
}

export const PLANTED: Readonly<Record<AnomalyKind, readonly (() => Writing)[]>> = {
  'inconsistent-offsets': [
    () =>
      twoSent()
        .sent('q.1', 'c', [0, 2])
        .notSent('p.1', 'x', 'info')
        .polled('r.1', [A, B, [2, 'x']])
        .final(A, B, [2, 'c']),
  ],
  'lost-write': [
    () => twoSent().final([1, 'b']),
    // Nobody was told that it is there, but somebody has read it.
    () =>
      twoSent()
        .notSent('p.1', 'c', 'info')
        .sent('q.1', 'd', [0, 3])
        .polled('r.1', [[2, 'c']])
        .final(A, B, [3, 'd']),
  ],
  'lost-update': [
    () => begun().put('k.1', 'x', 'k1', [0, 0]).put('k.1', 'x', 'k2', [0, 1]).latest([0, 'x', 'k1']).final(),
    () => begun().put('k.1', 'x', 'k1', [0, 0]).latest().final(),
  ],
  'early-deletion': [() => begun().kept(100, 200)],
  'lost-change': [
    () => begun().change('create', '1').topics({}),
    () => begun().change('create', '1').change('alter', '2').topics({ T: '1' }),
    () => begun().change('create', '1').change('delete', '-').topics({ T: '1' }),
    // Twice made and never deleted; altered and never made.
    () => begun().change('create', '1').change('create', '2').topics({ T: '2' }),
    () => begun().change('alter', '1').topics({ T: '1' }),
    () => begun().change('create', '1').change('alter', '2', 'UNKNOWN_TOPIC').topics({}),
  ],
  unseen: [() => twoSent().final(A), () => twoSent().final(A, B).sent('q.1', 'c', [1, 0])],
  duplicate: [() => twoSent().final(A, B, [2, 'a'])],
  'aborted-read': [() => twoSent().notSent('q.1', 'c', 'fail').final(A, B, [2, 'c'])],
  phantom: [
    () => twoSent().final(A, B, [2, 'c']),
    () => begun().put('k.1', 'x', 'k1', [0, 0]).latest([0, 'x', 'k1'], [1, 'y', 'k1']),
    () => begun().topics({ T: '1' }),
  ],
  'poll-skip': [
    () =>
      twoSent()
        .sent('p.1', 'c', [0, 2])
        .polled('r.1', [A])
        .polled('r.1', [[2, 'c']])
        .final(A, B, [2, 'c']),
    // A group: what nobody was given, the next member goes on behind; or a member passes over what it was given.
    () => twoSent().took('m.1', 1, 0).polled('m.1', [A], 1).took('o.1', 2, 2).final(A, B),
    () => twoSent().took('m.1', 1, 0).polled('m.1', [B], 1).final(A, B),
  ],
  'nonmonotonic-poll': [
    () => twoSent().polled('r.1', [A, B]).polled('r.1', [A]).final(A, B),
    () => twoSent().took('m.1', 1, 0).polled('m.1', [A], 1).polled('m.1', [A], 1).final(A, B),
  ],
  'int-poll-skip': [
    () => twoSent().sent('p.1', 'd', [0, 3]).final(A, B, [3, 'd']),
    () =>
      twoSent()
        .sent('p.1', 'c', [0, 2])
        .polled('r.1', [A, [2, 'c']])
        .final(A, B, [2, 'c']),
  ],
  'int-nonmonotonic-poll': [() => twoSent().polled('r.1', [A, B, A]).final(A, B)],
  'nonmonotonic-send': [() => begun().sent('p.1', 'b', [0, 1]).sent('q.1', 'a', [0, 0]).final(A, B)],
  'int-nonmonotonic-send': [
    () => {
      const writing = begun()
      const [first, second] = [writing.begin('p.1', 'b'), writing.begin('p.1', 'a')]
      writing.say('p.1', { op: 'send', type: 'ok', id: first, at: [0, 1] })
      return writing.say('p.1', { op: 'send', type: 'ok', id: second, at: [0, 0] }).final(A, B)
    },
  ],
  'offset-regress': [
    () => twoSent().took('m.1', 1, 0).polled('m.1', [A], 1).committed('m.1', 1, 1).took('o.1', 2, 0).final(A, B),
    () => twoSent().looked({ group: 'g' }, 1).looked({ group: 'g' }, 0).final(A, B),
    () => twoSent().took('m.1', 1, 0).polled('m.1', [A], 1).committed('m.1', 1, 1).looked({ group: 'g' }, 0).final(A, B),
    () => twoSent().looked('end', 2).looked('end', 1).final(A, B),
    () => twoSent().looked('start', 1).looked('start', 0).final(A, B),
    () => begun().kept(1000, 9000).kept(900, 9000),
    () => begun().kept(1000, 9000).kept(1000, 8999),
  ],
  'double-ownership': [
    () => twoSent().took('m.1', 1, 0).took('o.1', 1, 0).final(A, B),
    // A commit that is sent when somebody else has it is taken.
    () => twoSent().took('m.1', 1, 0).polled('m.1', [A], 1).took('o.1', 2, 0).committed('m.1', 1, 1).final(A, B),
    // Twice it is given something when somebody else has it.
    () => twoSent().took('m.1', 1, 0).took('o.1', 2, 0).polled('m.1', [A], 1).polled('m.1', [B], 1).final(A, B),
  ],
  stall: [
    () => twoSent().say('nemesis.1', { op: 'heal' }).wait(60_000).say('nemesis.1', { op: 'drained' }).final(A, B),
    () => twoSent().say('nemesis.1', { op: 'not whole', what: 'node 1 is not in sync' }).final(A, B),
    () => twoSent().took('m.1', 1, 0).polled('m.1', [A], 1).say('nemesis.1', { op: 'drained' }).final(A, B),
    () => twoSent().polled('r.1', [A]).say('nemesis.1', { op: 'drained' }).say('r.1', { op: 'stop' }).final(A, B),
  ],
  'wrong-error': [
    () => twoSent().notSent('p.1', 'c', 'info', 'OUT_OF_ORDER_SEQUENCE').final(A, B),
    () => twoSent().say('m.1', { op: 'die', error: 'INTERNAL' }).final(A, B),
  ],
}
