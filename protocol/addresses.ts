/** Addresses as texts. */

/** `host:port`, with brackets around an IPv6 address. */
export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** What `formatAddress` made; undefined for anything else. */
export function splitAddress(address: string): { readonly host: string; readonly port: number } | undefined {
  const match = /^(.+):(\d{1,5})$/.exec(address)
  return match === null ? undefined : { host: (match[1] as string).replace(/^\[|\]$/g, ''), port: Number(match[2]) }
}
