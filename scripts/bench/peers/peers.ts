/** All that are compared. */
import { kafka } from './kafka.ts'
import { nats } from './nats.ts'
import type { Peer } from './peer.ts'
import { rabbitmq } from './rabbitmq.ts'
import { redis } from './redis.ts'
import { tidemark } from './tidemark.ts'

export const PEERS: readonly Peer[] = [tidemark, nats, redis, rabbitmq, kafka]
