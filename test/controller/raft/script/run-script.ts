/**
 * Runs a scenario. Lines with `#` are kept, lines with `>` are done, all others are replaced by what happened.
 *
 * ```
 * nodes COUNT [preVote] [checkQuorum]      cut A B      heal      campaign ID      propose ID TEXT      tick ID COUNT
 * compact ID      transfer ID TO      change ID addVoter|addLearner|remove NODE      forget ID      status
 * ```
 */
import type { ConfChange, Message } from '../../../../controller/raft/messages.ts'
import { Network, type TestNode } from '../network.ts'

export function runScript(text: string): string {
  const out: string[] = []
  let network = new Network([])
  for (const line of text.split('\n')) {
    if (line.startsWith('#') || (line === '' && out.at(-1) !== '')) out.push(line)
    if (!line.startsWith('> ')) continue
    out.push(line)
    const [command = '', ...words] = line.slice(2).split(' ')
    if (command === 'nodes') network = nodesOf(Number(words[0]), words)
    const before = network.seen.length
    perform(network, command, words)
    network.settle()
    for (const message of network.seen.slice(before)) out.push(`  ${describeMessage(message)}`)
    if (command === 'status') for (const node of network.nodes.values()) out.push(`  ${describeNode(node)}`)
  }
  return `${out.join('\n').trimEnd()}\n`
}

function nodesOf(count: number, words: readonly string[]): Network {
  return Network.of(count, { preVote: words.includes('preVote'), checkQuorum: words.includes('checkQuorum') })
}

function perform(network: Network, command: string, words: readonly string[]): void {
  const [first, second] = [Number(words[0]), Number(words[1])]
  switch (command) {
    case 'nodes':
    case 'status':
      return
    case 'cut':
      network.cut(first, second)
      return
    case 'heal':
      network.heal()
      return
    case 'campaign':
      network.node(first).raw.campaign()
      return
    case 'propose':
      network.node(first).raw.propose(Buffer.from(words[1] ?? ''))
      return
    case 'tick':
      network.tick(first, second)
      return
    case 'transfer':
      network.node(first).raw.transferLeader(second)
      return
    case 'forget':
      network.node(first).raw.forgetLeader()
      return
    case 'change':
      network
        .node(first)
        .raw.proposeConfChange({ type: words[1] as ConfChange['type'], nodeId: Number(words[2]), context: new Uint8Array(0) })
      return
    case 'compact': {
      const { storage, status } = network.node(first)
      storage.createSnapshot(status.applied, status.confState, new Uint8Array(0))
      storage.compact(status.applied)
      return
    }
    default:
      throw new Error(`no command ${command}`)
  }
}

function describeMessage({ type, from, to, term, index, logTerm, commit, entries, reject, rejectHint, snapshot }: Message): string {
  const words = [`${from}->${to} ${type} term=${term}`]
  if (index > 0 || logTerm > 0) words.push(`at=${index}/${logTerm}`)
  if (commit > 0) words.push(`commit=${commit}`)
  if (entries.length > 0) words.push(`entries=[${entries.map((entry) => `${entry.index}/${entry.term}`).join(' ')}]`)
  if (reject) words.push(`refused hint=${rejectHint}`)
  if (snapshot !== undefined) words.push(`snapshot=${snapshot.meta.index}/${snapshot.meta.term}`)
  return words.join(' ')
}

function describeNode({ id, status, terms }: TestNode): string {
  const { role, term, vote, leader, commit, applied, confState, peers } = status
  const others = peers.filter((peer) => peer.id !== id).map((peer) => `${peer.id}:${peer.state}@${peer.match}`)
  const known = others.length === 0 ? '' : ` peers=[${others.join(' ')}]`
  return `${id} ${role} term=${term} vote=${vote} leader=${leader} commit=${commit} applied=${applied} log=[${terms.join(' ')}] voters=[${confState.voters.join(' ')}]${known}`
}
