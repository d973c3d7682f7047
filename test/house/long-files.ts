/** Files over the limit, each with the lines it has. Numbers go down only; a new file does not come onto the list. */
export const LONG_FILES: Readonly<Record<string, number>> = {
  'broker/transport/grpc/log-service.ts': 304,
  'protocol/errors.ts': 334,
}
