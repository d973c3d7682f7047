/**
 * Runs a scenario. Lines with `#` are kept, lines with `>` are done, all others are replaced by what happened.
 *
 * ```
 * nodes COUNT [OPTION…]            voters 1 to COUNT; preVote checkQuorum learners=4,5 inflight=2 messageBytes=100
 * node ID voters=1,2 [OPTION…]     one node with what it has: learners=3 log=1,1,4 term=4 vote=1 commit=2
 * campaign ID   propose ID TEXT   tick ID COUNT   transfer ID TO   read ID CONTEXT   forget ID   unreachable ID OF
 * change ID addVoter|addLearner|remove NODE       crash ID       status [ID…]
 * compact ID [INDEX [ENTRIES]]     a snapshot of the entry INDEX; entries up to ENTRIES are discarded
 * cut A B   heal                   every message both ways gets lost
 * hold   release                   from here on nothing arrives but by: deliver [FROM TO] [COUNT]   lose [FROM TO] [COUNT]
 * report ID OF arrived|lost        what became of a snapshot; told by itself while nothing is held
 * stop ID   go ID                  its driver does nothing but by: ready ID   write ID   advance ID
 * committed INDEX|- …              the majority rules alone      votes y|n|_ …
 * ```
 */
import type { ConfChange } from '../../../../controller/raft/messages.ts'
import { committedIndex, voteResult } from '../../../../controller/raft/quorum.ts'
import type { NodeOptions } from '../network.ts'
import { describeNode } from './describe.ts'
import { ScriptCluster } from './script-cluster.ts'

export function runScript(text: string): string {
  const out: string[] = []
  let cluster = new ScriptCluster()
  for (const line of text.split('\n')) {
    if (line.startsWith('#') || (line === '' && out.at(-1) !== '')) out.push(line)
    if (!line.startsWith('> ')) continue
    out.push(line)
    const [command = '', ...words] = line.slice(2).split(' ')
    if (command === 'nodes') cluster = clusterOf(words)
    else perform(cluster, command, words)
    cluster.settle()
    for (const said of cluster.lines.splice(0)) out.push(`  ${said}`)
  }
  return `${out.join('\n').trimEnd()}\n`
}

function clusterOf([count, ...options]: readonly string[]): ScriptCluster {
  const cluster = new ScriptCluster()
  const voters = Array.from({ length: Number(count) }, (_, at) => at + 1)
  const shared = optionsOf(options)
  for (const id of [...voters, ...(shared.learners ?? [])]) cluster.add(id, { voters, ...shared })
  cluster.lines.splice(0)
  return cluster
}

function optionsOf(words: readonly string[]): NodeOptions {
  const values = new Map(words.map((word) => word.split('=') as [string, string | undefined]))
  const numbers = (name: string): number[] | undefined => values.get(name)?.split(',').filter(Boolean).map(Number)
  const [voters, learners, terms] = [numbers('voters'), numbers('learners'), numbers('log')]
  const [inflight, messageBytes] = [numbers('inflight')?.[0], numbers('messageBytes')?.[0]]
  const hardState = Object.fromEntries(
    ['term', 'vote', 'commit'].flatMap((name) => (values.has(name) ? [[name, Number(values.get(name))]] : [])),
  )
  return {
    preVote: values.has('preVote'),
    checkQuorum: values.has('checkQuorum'),
    hardState,
    ...(voters && { voters }),
    ...(learners && { learners }),
    ...(terms && { terms }),
    ...(inflight !== undefined && { maxInflightMessages: inflight }),
    ...(messageBytes !== undefined && { maxMessageBytes: messageBytes }),
  }
}

type Action = (cluster: ScriptCluster, id: number, words: readonly string[]) => void

/** `id` is the first word. */
const ACTIONS: Readonly<Record<string, Action>> = {
  node(cluster, id, words) {
    cluster.add(id, optionsOf(words.slice(1)))
    cluster.lines.splice(0)
  },
  status(cluster, _id, words) {
    for (const node of cluster.nodes)
      if (words.length === 0 || words.includes(String(node.id)))
        cluster.lines.push(
          ...describeNode(node)
            .split('\n')
            .map((line, at) => (at === 0 ? line : line.slice(2))),
        )
  },
  campaign: (cluster, id) => cluster.node(id).raw.campaign(),
  propose(cluster, id, words) {
    const result = cluster.node(id).raw.propose(Buffer.from(words.slice(1).join(' ')))
    if (!result.ok) cluster.lines.push(`refused: ${result.reason}`)
  },
  tick(cluster, id, words) {
    for (let count = Number(words[1]); count > 0; count--) {
      cluster.node(id).raw.tick()
      cluster.settle()
    }
  },
  transfer: (cluster, id, words) => cluster.node(id).raw.transferLeader(Number(words[1])),
  read(cluster, id, words) {
    if (!cluster.node(id).raw.readIndex(words[1] ?? '')) cluster.lines.push('refused')
  },
  forget: (cluster, id) => cluster.node(id).raw.forgetLeader(),
  unreachable: (cluster, id, words) => cluster.node(id).raw.reportUnreachable(Number(words[1])),
  report: (cluster, id, words) => cluster.node(id).raw.reportSnapshot(Number(words[1]), words[2] === 'arrived'),
  change(cluster, id, words) {
    const change: ConfChange = { type: words[1] as ConfChange['type'], nodeId: Number(words[2]), context: new Uint8Array(0) }
    const result = cluster.node(id).raw.proposeConfChange(change)
    if (!result.ok) cluster.lines.push(`refused: ${result.reason}`)
  },
  compact(cluster, id, words) {
    const { storage, status } = cluster.node(id)
    const index = Number(words[1] ?? status.applied)
    storage.createSnapshot(index, status.confState, new Uint8Array(0))
    storage.compact(Number(words[2] ?? index))
  },
  crash: (cluster, id) => cluster.crash(id),
  cut: (cluster, id, words) => cluster.cut(id, Number(words[1])),
  heal: (cluster) => cluster.heal(),
  hold(cluster) {
    cluster.isHeld = true
  },
  release(cluster) {
    cluster.isHeld = false
  },
  deliver: (cluster, _id, words) => deliver(cluster, words, false),
  lose: (cluster, _id, words) => deliver(cluster, words, true),
  stop: (cluster, id) => cluster.stop(id, true),
  go: (cluster, id) => cluster.stop(id, false),
  ready: (cluster, id) => cluster.drive(id, 'ready'),
  write: (cluster, id) => cluster.drive(id, 'write'),
  advance: (cluster, id) => cluster.drive(id, 'advance'),
  committed(cluster, _id, words) {
    cluster.lines.push(String(committedIndex(words.map((word) => (word === '-' ? 0 : Number(word))))))
  },
  votes(cluster, _id, words) {
    const votes = new Map(words.flatMap((word, id) => (word === '_' ? [] : [[id, word === 'y'] as const])))
    cluster.lines.push(voteResult([...words.keys()], votes))
  },
}

function perform(cluster: ScriptCluster, command: string, words: readonly string[]): void {
  const action = ACTIONS[command]
  if (action === undefined) throw new Error(`no command ${command}`)
  action(cluster, Number(words[0]), words)
}

/** `[FROM TO] [COUNT]` */
function deliver(cluster: ScriptCluster, words: readonly string[], isLost: boolean): void {
  const numbers = words.map(Number)
  const [from, to] = numbers.length >= 2 ? numbers : []
  const count = numbers.length % 2 === 1 ? numbers.at(-1) : undefined
  cluster.deliver(isLost, count ?? Number.POSITIVE_INFINITY, from, to)
}
