/** The `Quorum` service: what other controllers send reaches the metadata log. */
import type * as grpc from '@grpc/grpc-js'
import { messageFromWire } from '../../../controller/quorum-codec.ts'
import type { QuorumReceiver } from '../../../controller/quorum-transport.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import type { QuorumMessage, QuorumServer } from '../../../protocol/gen/tidemark/v1/quorum.ts'
import { statusOf } from './status.ts'

/** A snapshot that claims to be larger is refused. */
const SNAPSHOT_BYTES_MAX = 1024 * 1024 * 1024

/** `receiver`: undefined while, or because, the node is no controller. */
export function createQuorumService(receiver: () => QuorumReceiver | undefined): QuorumServer {
  return {
    send(call, callback) {
      const pieces = new SnapshotPieces()
      let isOver = false
      const end = (error: unknown): void => {
        if (isOver) return
        isOver = true
        if (error === undefined) callback(null, {})
        else callback(statusOf(error))
      }
      call.on('data', (wire: QuorumMessage) => {
        if (isOver) return
        try {
          receive(wire, pieces, receiver())
        } catch (error) {
          end(error)
        }
      })
      call.on('end', () => end(undefined))
      call.on('error', (error: grpc.ServiceError) => end(error))
      call.on('cancelled', () => end(undefined))
    },
  }
}

function receive(wire: QuorumMessage, pieces: SnapshotPieces, receiver: QuorumReceiver | undefined): void {
  if (receiver === undefined) throw new TidemarkError('UNAVAILABLE', 'the node is not a controller, or not yet', { retryAfterMs: 100 })
  const isSnapshot = wire.snapshotBytes > 0
  const snapshot = isSnapshot ? pieces.add(wire) : undefined
  if (isSnapshot && snapshot === undefined) return
  receiver.receive(messageFromWire(wire, snapshot), {
    clusterId: wire.clusterId,
    directoryId: wire.directoryId,
    toDirectoryId: wire.toDirectoryId,
    starts: wire.starts,
    incarnationId: wire.incarnationId,
  })
}

/** The pieces of one snapshot, as they come one after the other. */
class SnapshotPieces {
  #pieces: Buffer[] = []
  #bytes = 0

  /** The whole, once it is there. Throws `LIMIT_EXCEEDED` and `INVALID_REQUEST`. */
  add({ snapshot, snapshotBytes, index, term }: QuorumMessage): Buffer | undefined {
    if (snapshotBytes > SNAPSHOT_BYTES_MAX)
      throw new TidemarkError('LIMIT_EXCEEDED', `a snapshot of ${snapshotBytes} bytes, at most ${SNAPSHOT_BYTES_MAX} are allowed`)
    this.#pieces.push(snapshot)
    this.#bytes += snapshot.length
    if (this.#bytes > snapshotBytes || snapshot.length === 0)
      throw new TidemarkError('INVALID_REQUEST', `the pieces of the snapshot of entry ${index}, term ${term}, do not fit`)
    if (this.#bytes < snapshotBytes) return undefined
    const whole = Buffer.concat(this.#pieces, this.#bytes)
    this.#pieces = []
    this.#bytes = 0
    return whole
  }
}
