/** A consumer that asks one partition for a byte at a time, over and over, with many requests under way on many streams. */
import { createGrpcTransport } from '../../client/grpc-transport.ts'
import { FetchRequest } from '../../protocol/gen/tidemark/v1/log.ts'
import { nodeClock } from '../../runtime/node.ts'

const STREAMS = 8
const UNDER_WAY = 64

export interface Hammer {
  readonly answerCount: number
  /** Bytes of batches that were answered. */
  readonly byteCount: number
  close(): void
}

/** Begins to hammer. `address`: where the partition's leader is; `recordCount`: what the partition has, all of it asked for again and again. */
export function hammer(address: string, topic: string, recordCount: number): Hammer {
  const transport = createGrpcTransport(nodeClock)
  const counts = { answers: 0, bytes: 0 }
  let offset = 0
  const request = (): FetchRequest =>
    FetchRequest.fromPartial({ maxBytes: 1, partitions: [{ topic, maxBytes: 1, offset: offset++ % recordCount }] })
  for (let n = 0; n < STREAMS; n++) {
    const stream = transport.connection(address).openFetch({
      message({ partitions }) {
        counts.answers++
        for (const { batches, error } of partitions) counts.bytes += error === undefined ? batches.length : 0
        stream.send(request())
      },
      closed: () => {},
    })
    for (let ask = 0; ask < UNDER_WAY; ask++) stream.send(request())
  }
  return {
    get answerCount() {
      return counts.answers
    },
    get byteCount() {
      return counts.bytes
    },
    close: () => transport.close(),
  }
}
