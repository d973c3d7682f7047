/** A progress bar on standard error, on terminals only. */
export interface Progress {
  update(count: number): void
  stop(): void
}

export async function startProgress(what: string, total: number): Promise<Progress> {
  if (!process.stderr.isTTY) return { update() {}, stop() {} }
  const { default: cliProgress } = await import('cli-progress')
  const bar = new cliProgress.SingleBar(
    { format: `${what} {bar} {percentage}% {value}/{total} {eta_formatted}`, hideCursor: true, stream: process.stderr },
    cliProgress.Presets.shades_classic,
  )
  bar.start(total, 0)
  return { update: (count) => bar.update(count), stop: () => bar.stop() }
}
