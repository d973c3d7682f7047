/** What producers, readers, members and observers have in common: each is a process with one JSON argument, a history, and an end in order on SIGTERM. */
import { connect, type Tidemark, TidemarkError } from '../../client/index.ts'
import { HistoryFile, type Happened } from './history.ts'

/** What a process is told. */
export interface ClientSettings {
  readonly role: 'producer' | 'reader' | 'member' | 'keeper' | 'registrar' | 'observer'
  /** Which of its kind, from 0 on: they differ. */
  readonly index: number
  readonly name: string
  /** How many lives it had before. */
  readonly life: number
  readonly addresses: readonly string[]
  readonly topic: string
  /** Of a member. */
  readonly group: string
  readonly groups: readonly string[]
  /** Directory of the histories. */
  readonly history: string
  /** Of a producer. */
  readonly recordsPerSecond: number
}

export interface Life {
  readonly settings: ClientSettings
  /** `producer-1.3`. */
  readonly process: string
  readonly history: HistoryFile
  readonly tm: Tidemark
  /** Aborts when it is told to stop. */
  readonly stop: AbortSignal
  nextId(): number
}

/** Leads a client's life; `start` is what it says of itself first. */
export async function live(settings: ClientSettings, start: Happened, work: (life: Life) => Promise<void>): Promise<void> {
  const process_ = `${settings.name}.${settings.life}`
  const history = new HistoryFile(settings.history, process_)
  history.write(start)
  const stop = new AbortController()
  process.on('SIGTERM', () => stop.abort())
  process.stdin.on('end', () => process.exit(1)).resume()
  let id = 0
  try {
    const tm = await reach(settings, stop.signal)
    await work({ settings, process: process_, history, tm, stop: stop.signal, nextId: () => ++id })
    await tm.close()
    history.write({ op: 'stop' })
  } catch (error) {
    if (stop.signal.aborted) history.write({ op: 'stop' })
    else {
      history.write({ op: 'die', error: describe(error) })
      process.exitCode = 1
    }
  }
  history.close()
  process.exit()
}

/** As long as nobody answers it is tried again: a client may be started in the middle of anything. */
async function reach({ addresses, name }: ClientSettings, signal: AbortSignal): Promise<Tidemark> {
  for (;;) {
    try {
      return await connect([...addresses], { clientId: name, connectTimeout: '30s', signal })
    } catch (error) {
      if (signal.aborted || !TidemarkError.from(error).retriable) throw error
    }
  }
}

export function describe(error: unknown): string {
  const { code, message } = TidemarkError.from(error)
  return `${code}: ${message}`
}

/** How what was not acknowledged ended. */
export function endingOf(error: TidemarkError): 'fail' | 'info' {
  return error.outcome === 'failed' ? 'fail' : 'info'
}

export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done, { once: true })
  })
}
