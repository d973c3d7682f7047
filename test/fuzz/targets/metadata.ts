/** What controllers keep and say to each other, and what groups are made of. */
import { decodeRecord, encodeRecord } from '../../../broker/groups/group-records.ts'
import { TopicPatterns } from '../../../broker/groups/topic-patterns.ts'
import { subscriptionTo } from '../../../client/group/subscription.ts'
import { applyBatch } from '../../../controller/metadata/apply.ts'
import { EMPTY_IMAGE } from '../../../controller/metadata/image.ts'
import { imageFromSnapshot, imageToSnapshot } from '../../../controller/metadata/snapshot.ts'
import { decodeEntry, decodeSnapshot, encodeEntry, messageFromWire, messageToWire } from '../../../controller/quorum-codec.ts'
import { isWellFormed } from '../../../controller/raft/well-formed.ts'
import { SnapshotFiles } from '../../../controller/snapshot-files.ts'
import { crc32c } from '../../../protocol/crc32c.ts'
import { MetadataBatch, MetadataSnapshot } from '../../../protocol/gen/tidemark/v1/metadata.ts'
import { QuorumMessage, QuorumService } from '../../../protocol/gen/tidemark/v1/quorum.ts'
import { decodeRequest } from '../../../broker/transport/grpc/requests.ts'
import { InvariantViolation } from '../../../runtime/invariant.ts'
import { MemoryFiles } from '../../../testing/memory-files.ts'
import { DATA, overwrite } from '../../log/support.ts'
import { messageOf, sampleMessage, sampleMessages } from '../messages.ts'
import { type Chance, pick } from '../../../scripts/random.ts'
import { isTypedError, must, type Target } from '../target.ts'

/** Records that contradict what is known stop a node, with the sentence that says so: going on would be to disagree with the others. */
const stopsOrRefuses = (error: unknown): boolean => isTypedError(error) || error instanceof InvariantViolation || isProtobufError(error)

/** What generated code throws of bytes that are no message. Its callers wrap it; here it is called by itself. */
const isProtobufError = (error: unknown): boolean =>
  error instanceof Error &&
  /^(premature EOF|invalid (wire type|varint|tag|UTF8|end group tag)|illegal tag|index out of range|Value is (larger|smaller) than|.*cant skip wire type)/i.test(
    error.message,
  )

const sampleOf = (name: string, chance: Chance): Buffer => sampleMessage(messageOf(name), chance)

const sealed = (content: Buffer): Buffer => {
  const crc = Buffer.alloc(4)
  crc.writeUInt32BE(crc32c(content, 0))
  return Buffer.concat([crc, content])
}

const raftTargets: readonly Target[] = [
  {
    name: 'raft-entry',
    what: 'an entry of the metadata log (decodeEntry); what is taken is written as the same',
    seeds: (seed) => sampleMessages('tidemark.v1.QuorumEntry', seed, 150),
    fresh: (chance) => sampleOf('tidemark.v1.QuorumEntry', chance),
    run(input) {
      const entry = decodeEntry(input)
      const again = encodeEntry(entry)
      must(encodeEntry(decodeEntry(again)).equals(again), 'the same entry')
    },
  },
  {
    name: 'raft-message',
    what: 'a message of another controller (decodeRequest, messageFromWire, isWellFormed)',
    seeds: (seed) => sampleMessages('tidemark.v1.QuorumMessage', seed, 150),
    fresh: (chance) => sampleOf('tidemark.v1.QuorumMessage', chance),
    run(input) {
      const wire = decodeRequest(QuorumService.send, input)
      const message = messageFromWire(wire, wire.snapshot.length > 0 ? wire.snapshot : undefined)
      if (!isWellFormed(message)) return
      const parts = {
        clusterId: '',
        directoryId: '',
        toDirectoryId: '',
        starts: 0,
        incarnationId: '',
        snapshot: Buffer.alloc(0),
        snapshotBytes: 0,
      }
      const bytes = QuorumMessage.encode({ ...parts, ...messageToWire(message) }).finish()
      must(
        isWellFormed(messageFromWire(QuorumMessage.decode(bytes), wire.snapshot.length > 0 ? wire.snapshot : undefined)),
        'the same message',
      )
    },
  },
  {
    name: 'quorum-snapshot',
    what: 'a snapshot of the metadata as a file and as bytes (SnapshotFiles, decodeSnapshot)',
    seeds: (seed) => sampleMessages('tidemark.v1.QuorumSnapshot', seed, 60).map(sealed),
    mend: (input) => sealed(Buffer.from(input.subarray(4))),
    weight: 0.3,
    async run(input) {
      const files = new MemoryFiles()
      await files.makeDirectory(DATA)
      await overwrite(files, `${DATA}/7-1.snapshot`, input)
      const snapshot = await new SnapshotFiles(DATA, files).read(7)
      if (snapshot !== undefined) decodeSnapshot(snapshot.data)
    },
  },
]

const metadataTargets: readonly Target[] = [
  {
    name: 'metadata-records',
    what: 'batches of metadata records onto an empty image (MetadataBatch, applyBatch); what they make comes back from its snapshot',
    seeds: (seed) => sampleMessages('tidemark.v1.MetadataBatch', seed, 200),
    fresh: (chance) => sampleOf('tidemark.v1.MetadataBatch', chance),
    isTyped: stopsOrRefuses,
    run(input) {
      const { image } = applyBatch(EMPTY_IMAGE, 0, MetadataBatch.decode(input))
      const snapshot = imageToSnapshot(image)
      const again = imageToSnapshot(imageFromSnapshot(MetadataSnapshot.decode(MetadataSnapshot.encode(snapshot).finish())))
      must(JSON.stringify(again) === JSON.stringify(snapshot), 'the same image')
    },
  },
  {
    name: 'metadata-snapshot',
    what: 'a snapshot of the image (MetadataSnapshot, imageFromSnapshot)',
    seeds: (seed) => sampleMessages('tidemark.v1.MetadataSnapshot', seed, 100),
    fresh: (chance) => sampleOf('tidemark.v1.MetadataSnapshot', chance),
    isTyped: stopsOrRefuses,
    run: (input) => void imageFromSnapshot(MetadataSnapshot.decode(input)),
  },
]

/** Two pieces of an input: how long the first is stands in its first two bytes. */
function halves(input: Buffer): [Buffer, Buffer] {
  const length = input.length < 2 ? 0 : input.readUInt16BE(0)
  return [input.subarray(2, 2 + length), input.subarray(2 + length)]
}

function joined(a: Buffer, b: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(a.length)
  return Buffer.concat([length, a, b])
}

const patterns = new TopicPatterns()

const groupTargets: readonly Target[] = [
  {
    name: 'group-record',
    what: 'records of __consumer_offsets: groups, members with their assignments, offsets (decodeRecord); what is taken is written as the same',
    seeds(seed) {
      const keys = sampleMessages('tidemark.v1.GroupRecordKey', seed, 60)
      return ['GroupRecordValue', 'MemberRecordValue', 'OffsetRecordValue'].flatMap((name) =>
        sampleMessages(`tidemark.v1.${name}`, seed, 60).map((value, at) => joined(keys[at] as Buffer, value)),
      )
    },
    fresh: (chance) =>
      joined(
        sampleOf('tidemark.v1.GroupRecordKey', chance),
        sampleOf(`tidemark.v1.${pick(chance, ['GroupRecordValue', 'MemberRecordValue', 'OffsetRecordValue'])}`, chance),
      ),
    run(input) {
      const [key, value] = halves(input)
      const record = decodeRecord(key, value.length === 0 ? null : value)
      const again = encodeRecord(record)
      const last = encodeRecord(decodeRecord(again.key, again.value))
      must(last.key.equals(again.key) && (again.value === null ? last.value === null : last.value?.equals(again.value)), 'the same record')
    },
  },
  {
    name: 'subscription',
    what: 'regular expressions as topics: from JavaScript to RE2 (subscriptionTo), and matched against names (TopicPatterns)',
    open: () => patterns.load(),
    seeds: () =>
      ['^orders-.*$', 'a|b', '(?i)x{3,5}', '[[:alpha:]]+', '(a+)+$', '\\p{Greek}', '^(?:orders|events)\\..+$'].map((one) =>
        Buffer.from(one),
      ),
    // Compiling an expression makes a program of up to a thousand instructions, however short it is.
    outputBytesMax: 16 * 1024,
    weight: 0.05,
    run(input) {
      const source = input.toString('utf8')
      patterns.check(source)
      for (const name of ['orders', 'a'.repeat(249)]) patterns.matches(source, name)
      const expression = regularExpression(source)
      if (expression !== undefined) patterns.check(subscriptionTo(expression).pattern)
    },
  },
]

function regularExpression(source: string): RegExp | undefined {
  try {
    return new RegExp(source)
  } catch {
    return undefined
  }
}

export const stateTargets: readonly Target[] = [...raftTargets, ...metadataTargets, ...groupTargets]
