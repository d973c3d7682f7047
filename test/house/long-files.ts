/** Files over the limit, each with the lines it has. Numbers go down only; a new file does not come onto the list. */
export const LONG_FILES: Readonly<Record<string, number>> = {
  'broker/transport/grpc/log-service.ts': 305,
  'client/consumer/consumer.ts': 380,
  'client/consumer/fetcher.ts': 323,
  'protocol/errors.ts': 367,
}
