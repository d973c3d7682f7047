/**
 * Plain HTTP on the same port: `/livez`, `/readyz`, `/healthz`, `/metrics`. Read-only, small answers, no bodies.
 */
import type http from 'node:http'
import { createRequire } from 'node:module'
import type net from 'node:net'
import { type NodeHealth, nodeHealth } from '../../operations/health.ts'
import type { Broker } from '../../broker.ts'
import { renderMetrics } from './metrics.ts'

/**
 * As `require` gives it. An `import` of it reads all its properties, among them one that loads the whole of `fetch`: 13 ms of a start and
 * some 5 MB.
 */
const { createServer } = createRequire(import.meta.url)('node:http') as typeof http

/** Nobody needs to send us more; longer requests are refused. */
const HEADERS_MAX_BYTES = 16 * 1024
const REQUEST_TIMEOUT_MS = 10_000
const KEEP_ALIVE_MS = 5000
/** How often connections are looked at for what is late. */
const CHECK_EVERY_MS = 1000

export interface HttpServer {
  inject(socket: net.Socket): void
  close(): void
}

/** `broker` is undefined until the node got far enough to have one. */
export function createHttpServer(broker: () => Broker | undefined): HttpServer {
  const server = createServer(
    {
      maxHeaderSize: HEADERS_MAX_BYTES,
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: CHECK_EVERY_MS,
    },
    (request, response) => {
      answer(broker(), request, response).catch((error: unknown) => {
        broker()?.runtime.log.error('http.failed', { path: request.url, error })
        if (!response.headersSent) reply(response, 500, 'text/plain', 'internal error\n')
      })
    },
  )
  // It is handed its connections and never listens itself, and only a server that listens looks for requests that are late.
  server.emit('listening')
  return {
    inject: (socket) => server.emit('connection', socket),
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

async function answer(broker: Broker | undefined, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
  request.resume()
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD')
    reply(response, 405, 'text/plain', 'only GET and HEAD\n')
    return
  }
  const path = (request.url ?? '/').split('?')[0]
  switch (path) {
    case '/livez':
      // Whoever can answer has a working event loop.
      reply(response, 200, 'text/plain', 'ok\n')
      return
    case '/readyz': {
      const isReady = broker !== undefined && nodeHealth(broker).isReady
      reply(response, isReady ? 200 : 503, 'text/plain', isReady ? 'ok\n' : `${broker?.state ?? 'starting'}\n`)
      return
    }
    case '/healthz': {
      const health = broker === undefined ? undefined : nodeHealth(broker)
      reply(response, health?.isHealthy === true ? 200 : 503, 'application/json', `${JSON.stringify(healthBody(health))}\n`)
      return
    }
    case '/metrics': {
      const { contentType, text } = await renderMetrics(broker)
      reply(response, 200, contentType, text)
      return
    }
    default:
      reply(response, 404, 'text/plain', 'there is /livez, /readyz, /healthz and /metrics\n')
  }
}

function healthBody(health: NodeHealth | undefined): object {
  if (health === undefined)
    return { status: 'unhealthy', state: 'starting', reasons: [{ code: 'NOT_SERVING', message: 'the node is starting' }] }
  const { isHealthy, isReady, ...rest } = health
  return { status: isHealthy ? 'healthy' : 'unhealthy', ready: isReady, ...rest }
}

function reply(response: http.ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body), 'cache-control': 'no-store' })
  response.end(body)
}
