/**
 * Planted mistakes: each is one place of the source with something else in it, that a person might have written. A proof that does not notice
 * one of them proves less than it says. The ids are those of the list of known mistakes of such systems.
 */

export interface Mutant {
  readonly id: string
  readonly what: string
  readonly file: string
  /** Stands exactly once in the file. */
  readonly find: string
  readonly replace: string
  /** Where it is noticed, when not (only) by the simulation's seeds: tests, from the root of the project. */
  readonly tests?: readonly string[]
}

export const MUTANTS: readonly Mutant[] = [
  {
    id: 'M01',
    what: 'a follower of a new leader cuts its log at its high watermark',
    file: 'broker/replication/leader-fetcher.ts',
    find: '    const followed = known ?? { partition, leaderEpoch, retryAtMs: 0, reportedOffset: -1 }\n',
    replace: `    const followed = known ?? { partition, leaderEpoch, retryAtMs: 0, reportedOffset: -1 }
    if (partition.highWatermark < partition.log.logEndOffset && !partition.isChanging) this.#change(followed, this.#node.truncate(partition, partition.highWatermark))\n`,
  },
  {
    id: 'M02',
    what: 'a follower cuts where its leader says that an epoch ends, whatever it has of that epoch itself',
    file: 'broker/replication/follower-rules.ts',
    find: 'own.epoch === leader.epoch ? Math.min(own.endOffset, leader.endOffset) : own.endOffset',
    replace: 'leader.endOffset',
  },
  {
    id: 'M03',
    what: 'a leader does not look at the epoch of what a follower has last',
    file: 'broker/operations/replica-fetch.ts',
    find: '  const ours = log.epochEnd(lastEpoch)\n',
    replace: '  if (fetchOffset <= log.logEndOffset) return undefined\n  const ours = log.epochEnd(lastEpoch)\n',
  },
  {
    id: 'M04',
    what: 'fetches of another leader epoch are answered',
    file: 'broker/operations/replica-fetch.ts',
    find: '    partition.checkLeadership(entry.leaderEpoch)\n    return partition\n',
    replace: '    partition.checkLeadership(undefined)\n    return partition\n',
  },
  {
    id: 'M05',
    what: 'the high watermark does not wait for whoever is about to be let in',
    file: 'broker/replication/leader-state.ts',
    find: '!(this.#isInMaximalIsr(nodeId) || this.#isJoining(nodeId))',
    replace: '!this.#isr.includes(nodeId)',
  },
  {
    id: 'M06',
    what: 'a replica is let in before it has everything up to the start of the epoch',
    file: 'broker/replication/leader-state.ts',
    find: '>= Math.max(highWatermark, this.epochStartOffset)',
    replace: '>= highWatermark',
  },
  {
    id: 'M07',
    what: 'what a replica fetched in another epoch counts',
    file: 'broker/operations/replica-fetch.ts',
    find: '      const partition = this.#partitionOf(entry)\n      if (divergenceOf(partition, entry) !== undefined) return undefined\n',
    replace: '      const partition = this.#broker.partitions.findById(entry.topicId, entry.partition)\n',
  },
  {
    id: 'M08',
    what: 'the controller does not compare partition epochs',
    file: 'controller/metadata/alter-partitions.ts',
    find: '  if (partitionEpoch < present.partitionEpoch)\n',
    replace: '  if (partitionEpoch < 0)\n',
  },
  {
    id: 'M09',
    what: 'the controller does not compare the runs of nodes that come into sync',
    file: 'controller/metadata/alter-partitions.ts',
    find: '    if (node.nodeEpoch !== nodeEpoch)\n',
    replace: '    if (nodeEpoch < 0)\n',
  },
  {
    id: 'M10',
    what: 'who comes back with another disk stays eligible to lead',
    file: 'controller/metadata/node-states.ts',
    find: '...((isOtherDisk || mayLackRecords) && { distrusted: [nodeId] })',
    replace: '...(false && { distrusted: [nodeId] })',
  },
  {
    id: 'M11',
    what: 'the ELR is not emptied when enough are in sync again',
    file: 'controller/metadata/partition-change.ts',
    find: 'if (this.#isr.length >= minIsrOf(this.#topic, this.#replicas) || (forget && this.#isr.length > 0)) return',
    replace: 'if (forget && this.#isr.length > 0) return',
  },
  {
    id: 'M12',
    what: 'records are committed with fewer in sync than the minimum',
    file: 'broker/replication/leader-state.ts',
    find: '    if (this.#isr.length < minIsr) return undefined\n',
    replace: '    if (minIsr < 0) return undefined\n',
  },
  {
    id: 'M13',
    what: 'what is written and not yet on disk counts as durable',
    file: 'broker/durability.ts',
    find: "  return durability === 'fsync'\n",
    replace: "  return durability === 'none'\n",
  },
  {
    id: 'M14',
    what: 'votes and acknowledgements leave before they are on disk',
    file: 'controller/raft-driver.ts',
    find: '    await this.#persist(ready)\n    this.#send(ready.messagesAfterPersist)\n',
    replace: '    this.#send(ready.messagesAfterPersist)\n    await this.#persist(ready)\n',
  },
  {
    id: 'M15',
    what: 'a leader of the quorum counts its own entries before they are on disk',
    file: 'controller/raft/leader.ts',
    find: "  raft.send({ type: 'appendResponse', to: raft.id, index })\n",
    replace: '  raft.progressOf(raft.id).update(index)\n  maybeCommit(raft)\n',
  },
  {
    id: 'M16',
    what: 'entries of earlier terms are committed by counting',
    file: 'controller/raft/leader.ts',
    find: 'index <= raft.log.committed || raft.log.term(index) !== raft.term',
    replace: 'index <= raft.log.committed',
  },
  {
    id: 'M17',
    what: 'consent to an election is given without a look at the log',
    file: 'controller/raft/election.ts',
    find: '!isFree || !raft.log.isUpToDate(index, logTerm)',
    replace: "!isFree || (type === 'vote' && !raft.log.isUpToDate(index, logTerm))",
  },
  {
    id: 'M18',
    what: 'a leader of the quorum that nobody hears goes on leading',
    file: 'controller/raft-driver.ts',
    find: '      checkQuorum: true,\n',
    replace: '      checkQuorum: false,\n',
  },
  {
    id: 'M19',
    what: 'a snapshot older than what is committed is installed',
    file: 'controller/raft/follower.ts',
    find: 'index <= log.committed || !isMember(confState, raft.id)',
    replace: '!isMember(confState, raft.id)',
  },
  {
    id: 'M20',
    what: 'the members change before the leader has committed anything in its term',
    file: 'controller/raft/raw-node.ts',
    find: "(hasCommittedInTerm(raft) ? undefined : 'no-commit-in-term')",
    replace: 'undefined',
  },
  {
    id: 'M21',
    what: 'a controller that comes with another disk is taken for its former self',
    file: 'controller/quorum-members.ts',
    find: "    if (known !== '') return known === directoryId\n",
    replace: "    if (known !== '') return true\n",
  },
  {
    id: 'M22',
    what: 'a sync that failed is tried again',
    file: 'log/group-commit.ts',
    find: '        await lease.handle.datasync()\n',
    replace: '        await lease.handle.datasync().catch(() => lease.handle.datasync())\n',
  },
  {
    id: 'M23',
    what: 'the directory is not synced when a log goes on in a new segment',
    file: 'log/upkeep.ts',
    find: '      await this.#parts.files.syncDirectory(this.#directory)\n    } catch (error) {\n      segment.forgetFiles()\n',
    replace: '    } catch (error) {\n      segment.forgetFiles()\n',
  },
  {
    id: 'M24',
    what: 'an index is believed though the log says otherwise',
    file: 'log/segment.ts',
    find: 'if (!isDamage(found) && !(found !== undefined && readBaseOffset(found) > wanted.offset)) return found',
    replace: 'if (!isDamage(found)) return found',
  },
  {
    id: 'M25',
    what: 'damage before the end of a log ends it in silence',
    file: 'log/recovery.ts',
    find: '  if (damage !== undefined && !isLast)\n',
    replace: '  if (damage !== undefined && from < 0)\n',
  },
  {
    id: 'M26',
    what: 'followers do not keep the state of producers',
    file: 'log/partition-log.ts',
    find: '    if (producer !== undefined) this.#producers.update(producer, baseOffset, this.#parts.runtime.clock.now(), this.#commit.writtenOffset)\n',
    replace: '',
  },
  {
    id: 'M27',
    what: 'sequences of producers are not checked',
    file: 'log/partition-log.ts',
    find: '    const seen = producer && this.#producers.check(producer)\n',
    replace: '    const seen = undefined as ReturnType<ProducerState["check"]>\n',
  },
  {
    id: 'M29',
    what: 'consumers read beyond the high watermark',
    file: 'broker/operations/fetch.ts',
    find: 'partition.log.readCached(entry.offset, budgetBytes, partition.highWatermark)',
    replace: 'partition.log.readCached(entry.offset, budgetBytes, partition.log.logEndOffset)',
  },
  {
    id: 'M30',
    what: 'a new leader says where a partition ends before it knows',
    file: 'broker/operations/logs.ts',
    find: '      partition.checkWatermarkKnown()\n',
    replace: '',
  },
  {
    id: 'M31',
    what: 'the mark of a clean stop outlives the start',
    file: 'log/data-dir-identity.ts',
    find: '  await files.remove(path)\n',
    replace: '',
  },
  {
    id: 'M32',
    what: 'a file that is replaced is not synced before it takes its name',
    file: 'runtime/atomic-file.ts',
    find: '    await handle.datasync()\n',
    replace: '',
  },
  {
    id: 'M33',
    what: 'the epochs of a log outlive what was cut off it',
    file: 'log/truncation.ts',
    find: '  const state = names.filter((name) => name === LEADER_EPOCHS_FILE || offsetOfName(name, SNAPSHOT_SUFFIX) !== undefined)\n',
    replace: '  const state = names.filter((name) => offsetOfName(name, SNAPSHOT_SUFFIX) !== undefined)\n',
  },
  {
    id: 'M34',
    what: 'entries of a leader of an earlier term are taken',
    file: 'controller/raft/step.ts',
    find: '  } else if (message.term < raft.term) {\n',
    replace: "  } else if (message.term < raft.term && message.type !== 'append') {\n",
  },
  {
    id: 'M35',
    what: 'an own acknowledgement counts in a later term',
    file: 'controller/raft/raw-node.ts',
    find: '    for (const message of this.#selfMessages) step(raft, message)\n',
    replace: '    for (const message of this.#selfMessages) step(raft, { ...message, term: raft.term })\n',
  },
  {
    id: 'M36',
    what: 'a late refusal takes a follower back behind what it has',
    file: 'controller/raft/progress.ts',
    find: '    this.next = Math.max(Math.min(refused, hint + 1), this.match + 1)\n',
    replace: '    this.next = Math.min(refused, hint + 1)\n',
  },
  {
    id: 'M37',
    what: 'reading in pages leaves entries out',
    file: 'controller/raft/entry-log.ts',
    find: '    if (from < offset && stable.length < Math.min(to, offset) - from) return stable\n',
    replace: '',
  },
  {
    id: 'M38',
    what: 'reads are answered before anything is committed in the term',
    file: 'controller/raft/leader.ts',
    find: '!hasCommittedInTerm(raft) || raft.reads.isFull',
    replace: 'raft.reads.isFull',
  },
  {
    id: 'M39',
    what: 'committed metadata is applied out of order',
    file: 'controller/raft-driver.ts',
    find: '    for (const entry of ready.committedEntries) isMembershipNew',
    replace: '    for (const entry of [...ready.committedEntries].reverse()) isMembershipNew',
  },
]
