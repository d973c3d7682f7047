/** How a gRPC client comes by its connection to a node. Everything of ours that calls dials through this, so that a simulated network can take its place. */
import * as grpc from '@grpc/grpc-js'

/** What is used of a client of grpc-js. */
export type GrpcClient = Pick<grpc.Client, 'makeUnaryRequest' | 'makeClientStreamRequest' | 'makeBidiStreamRequest' | 'close'>

/** `address`: `host:port`. Nothing is connected before the first call. */
export type Dial = (address: string, options: grpc.ChannelOptions) => GrpcClient

export const dialGrpc: Dial = (address, options) => new grpc.Client(address, grpc.credentials.createInsecure(), options)
