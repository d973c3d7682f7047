/**
 * grpc-js as `require` gives it. An `import` first looks for its names in the source of each of its files, which takes two thirds
 * of the time that loading them takes. Types come by `import type`.
 */
import { createRequire } from 'node:module'

export const grpcJs: typeof import('@grpc/grpc-js') = createRequire(import.meta.url)('@grpc/grpc-js')
