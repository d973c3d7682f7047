/** The other side of `baselines.ts`: a bare grpc-js server that stores nothing. The first four bytes of a message say how long the answer is to be. */
import { parentPort } from 'node:worker_threads'
import * as grpc from '@grpc/grpc-js'

const pass = (value: Buffer): Buffer => value

const server = new grpc.Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 })
server.addService(
  {
    echo: {
      path: '/bench/Echo',
      requestStream: true,
      responseStream: true,
      requestSerialize: pass,
      requestDeserialize: pass,
      responseSerialize: pass,
      responseDeserialize: pass,
    },
  },
  {
    echo: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      const answers = new Map<number, Buffer>()
      call.on('data', (message: Buffer) => {
        const bytes = message.readUInt32BE(0)
        let answer = answers.get(bytes)
        if (answer === undefined) {
          answer = Buffer.alloc(bytes)
          answers.set(bytes, answer)
        }
        call.write(answer)
      })
      call.on('end', () => call.end())
      call.on('error', () => {})
    },
  },
)
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error
  parentPort?.postMessage(port)
})
