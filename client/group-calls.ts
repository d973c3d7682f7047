/** Calls to the coordinator of a group, wherever it is by now. */
import { formatAddress } from '../protocol/addresses.ts'
import { fromErrorDetail } from '../protocol/error-wire.ts'
import { type ErrorCode, TidemarkError } from '../protocol/errors.ts'
import type { ClusterClient } from './cluster-client.ts'
import { untilAborted, withRetries } from './retry.ts'
import type { UnaryCalls } from './transport.ts'

export type GroupCallName =
  | 'heartbeat'
  | 'commitOffsets'
  | 'fetchOffsets'
  | 'describeGroups'
  | 'resetOffsets'
  | 'deleteGroups'
  | 'deleteOffsets'

export interface GroupCallControl {
  readonly signal?: AbortSignal | undefined
  /** How long it may take, retries included. Default: the client's request timeout. */
  readonly timeoutMs?: number | undefined
  /** How long one attempt may take before the coordinator is looked for anew. */
  readonly attemptTimeoutMs?: number
}

/** A coordinator commits before it answers; a node that takes longer is not waited for: another may coordinate by now. */
const ATTEMPT_TIMEOUT_MS = 5000

/** What an answer of a node that coordinates the group does not say. */
const ELSEWHERE: ReadonlySet<ErrorCode> = new Set([
  'NOT_COORDINATOR',
  'COORDINATOR_NOT_AVAILABLE',
  'UNAVAILABLE',
  'REQUEST_TIMED_OUT',
  'SHUTTING_DOWN',
  'CANCELLED',
])

export class GroupCalls {
  readonly group: string
  readonly #client: ClusterClient
  #address: string | undefined

  constructor(client: ClusterClient, group: string) {
    this.#client = client
    this.group = group
  }

  /** The coordinator is looked for anew: the one that is known may have been deposed. */
  forget(): void {
    this.#address = undefined
  }

  /** Until it is answered or time is up. `check` throws what makes an answer a failed attempt. */
  async call<Name extends GroupCallName>(
    name: Name,
    request: UnaryCalls[Name][0],
    control: GroupCallControl = {},
    check: (response: UnaryCalls[Name][1]) => void = () => {},
  ): Promise<UnaryCalls[Name][1]> {
    const { runtime, requestTimeoutMs, closed } = this.#client
    const deadlineMs = runtime.clock.monotonic() + (control.timeoutMs ?? requestTimeoutMs)
    const signal = control.signal === undefined ? closed : AbortSignal.any([control.signal, closed])
    return withRetries(runtime, deadlineMs, signal, () => {
      const leftMs = Math.max(1, deadlineMs - runtime.clock.monotonic())
      const timeoutMs = Math.min(control.attemptTimeoutMs ?? ATTEMPT_TIMEOUT_MS, leftMs)
      return this.once(name, request, { signal, timeoutMs }, check)
    })
  }

  /** One attempt; where the coordinator is not found the next one looks elsewhere. */
  async once<Name extends GroupCallName>(
    name: Name,
    request: UnaryCalls[Name][0],
    control: { readonly signal: AbortSignal; readonly timeoutMs: number },
    check: (response: UnaryCalls[Name][1]) => void = () => {},
  ): Promise<UnaryCalls[Name][1]> {
    const { signal, timeoutMs } = control
    const address = this.#address ?? (await this.#find(signal, timeoutMs))
    this.#address = address
    try {
      const response = await untilAborted(this.#client.connection(address).call(name, request, { timeoutMs, signal }), signal)
      check(response)
      return response
    } catch (caught) {
      const error = TidemarkError.from(caught)
      if (!signal.aborted && ELSEWHERE.has(error.code)) this.#address = hintOf(error)
      throw error
    }
  }

  async #find(signal: AbortSignal, timeoutMs: number): Promise<string> {
    const { coordinators } = await this.#client.call('findCoordinators', { groups: [this.group] }, { signal, timeoutMs })
    const [found] = coordinators
    if (found?.error !== undefined) throw fromErrorDetail(found.error)
    if (found === undefined || found.host === '') throw new TidemarkError('COORDINATOR_NOT_AVAILABLE')
    return formatAddress(found.host, found.port)
  }
}

function hintOf({ code, leader }: TidemarkError): string | undefined {
  return code === 'NOT_COORDINATOR' && leader !== undefined && leader.host !== '' ? formatAddress(leader.host, leader.port) : undefined
}
