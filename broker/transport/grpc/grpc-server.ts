/**
 * The gRPC server behind the port: every limit explicit, connections injected by `port.ts`.
 */
import type http2 from 'node:http2'
import type net from 'node:net'
import type * as grpc from '@grpc/grpc-js'
import type { Limits } from '../../config.ts'
import { refuseUndecodable } from './requests.ts'
import { sendUncopied } from './uncopied-answers.ts'
import { grpcJs } from './grpc-js.ts'

export interface GrpcServer {
  readonly server: grpc.Server
  /** Takes over a connection that opened with the HTTP/2 preface. */
  inject(socket: net.Socket): void
  /** Lets calls under way finish for `graceMs`, then cuts them. Resolves when every call is over. */
  shutdown(graceMs: number): Promise<void>
}

export function createGrpcServer(limits: Limits): GrpcServer {
  const server = new grpcJs.Server({
    'grpc.max_receive_message_length': limits.requestBytesMax,
    // Answers are bounded by fetchBytesMax, save for one batch that may be larger.
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': limits.streamsPerConnectionMax,
    'grpc-node.max_session_memory': limits.sessionMemoryMb,
    'grpc.keepalive_time_ms': limits.keepaliveIntervalMs,
    'grpc.keepalive_timeout_ms': limits.keepaliveTimeoutMs,
    'grpc.max_connection_idle_ms': limits.idleTimeoutMs,
    // Channelz keeps a trace of every connection and call; nobody reads it here.
    'grpc.enable_channelz': 0,
    interceptors: [sendUncopied, refuseUndecodable],
  })
  widenStreamWindow(server, limits.flowControlWindowBytes)
  const injector = server.createConnectionInjector(grpcJs.ServerCredentials.createInsecure())
  widenSessionWindow(server, limits.flowControlWindowBytes)
  passOverEndedCalls(server)
  return {
    server,
    inject: (socket) => injector.injectConnection(socket),
    shutdown: (graceMs) => shutdown(server, injector, graceMs),
  }
}

async function shutdown(server: grpc.Server, injector: grpc.ConnectionInjector, graceMs: number): Promise<void> {
  injector.drain(graceMs)
  await new Promise<void>((resolve) => {
    server.tryShutdown(() => resolve())
  })
  injector.destroy()
}

/*
 * HTTP/2 gives a sender 64 KiB of credit per stream and per connection unless the receiver says otherwise, which
 * halves the throughput of large batches. grpc-js has an option for its clients (`grpc-node.flow_control_window`) but none for its
 * servers, so these two reach into the server it builds. Should a new version hide them, the windows
 * stay at their defaults and test/integration/flow-control.test.ts says so.
 */

interface ServerInside {
  commonServerOptions?: http2.ServerOptions
  http2Servers?: Map<http2.Http2Server, unknown>
}

function widenStreamWindow(server: grpc.Server, windowBytes: number): void {
  const inside = server as unknown as ServerInside
  if (inside.commonServerOptions === undefined) return
  inside.commonServerOptions.settings = { ...inside.commonServerOptions.settings, initialWindowSize: windowBytes }
}

function widenSessionWindow(server: grpc.Server, windowBytes: number): void {
  const inside = server as unknown as ServerInside
  for (const http2Server of inside.http2Servers?.keys() ?? []) {
    http2Server.on('session', (session) => session.setLocalWindowSize(windowBytes))
  }
}

type StreamListener = (stream: http2.ServerHttp2Stream, ...rest: unknown[]) => void

/**
 * A call can be over before the server is told of it, when its reset comes along with it. grpc-js answers all the same when it does not know the
 * call, or not its content type, and what that throws nobody catches: anyone could end the process. Reaches into the server as the above;
 * test/integration/bad-input.test.ts says so when it does not help any more.
 */
function passOverEndedCalls(server: grpc.Server): void {
  const inside = server as unknown as ServerInside
  for (const http2Server of inside.http2Servers?.keys() ?? []) {
    const listeners = http2Server.listeners('stream') as StreamListener[]
    http2Server.removeAllListeners('stream')
    http2Server.on('stream', (stream, headers, ...rest) => {
      if (stream.destroyed || stream.closed) {
        stream.on('error', () => {})
        return
      }
      dropUnspeakable(headers)
      for (const listener of listeners) listener(stream, headers, ...rest)
    })
  }
}

/** Of headers that gRPC has no room for, grpc-js writes each to the error output, as long as it is. Nobody reads them here. */
function dropUnspeakable(headers: http2.IncomingHttpHeaders): void {
  for (const [name, value] of Object.entries(headers)) {
    const isSpeakable = /^[:0-9a-z_.-]+$/.test(name) && (name.endsWith('-bin') || /^[ -~]*$/.test(String(value)))
    if (!isSpeakable) delete headers[name]
  }
}
