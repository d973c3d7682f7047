/** The `Replica` service: fetches of followers, many in flight on one stream. */
import type { ReplicaFetchRequest, ReplicaServer } from '../../../protocol/gen/tidemark/v1/replica.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import type { Broker } from '../../broker.ts'
import { replicaFetch } from '../../operations/replica-fetch.ts'
import { statusOf } from './status.ts'

/** Requests of one follower in hand: one that waits, and a report or two. */
const IN_HAND_MAX = 64

export function createReplicaService(broker: Broker): ReplicaServer {
  return {
    fetch(call) {
      const inHand = new Set<{ cancel(): void }>()
      /** The fetch that waits for records: a follower has one, and looks at no answer to an earlier one. */
      let waiting: { cancel(): void } | undefined
      const stop = broker.onStop(() => call.end())
      const over = (): void => {
        stop()
        for (const fetch of inHand) fetch.cancel()
        inHand.clear()
      }
      call.on('data', (request: ReplicaFetchRequest) => {
        if (inHand.size >= IN_HAND_MAX) {
          call.emit('error', statusOf(new TidemarkError('LIMIT_EXCEEDED', `${IN_HAND_MAX} fetches of one follower are in hand`)))
          return
        }
        if (request.maxBytes > 0 && waiting !== undefined) {
          waiting.cancel()
          inHand.delete(waiting)
          waiting = undefined
        }
        let isAnswered = false
        const fetch: { cancel(): void } = replicaFetch(broker, request, (response) => {
          if (isAnswered) return
          isAnswered = true
          queueMicrotask(() => inHand.delete(fetch))
          if (!call.cancelled) call.write(response)
        })
        if (isAnswered) return
        inHand.add(fetch)
        if (request.maxBytes > 0) waiting = fetch
      })
      call.on('end', () => {
        over()
        call.end()
      })
      call.on('cancelled', over)
      call.on('error', over)
    },
  }
}
