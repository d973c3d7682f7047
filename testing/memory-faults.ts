/** Failures that `MemoryFiles` were told to have. */

export type FileOperation =
  | 'open'
  | 'read'
  | 'write'
  | 'datasync'
  | 'truncate'
  | 'rename'
  | 'remove'
  | 'list'
  | 'syncDirectory'
  | 'makeDirectory'
  | 'freeBytes'

/** A failure to come. */
export interface Fault {
  readonly operation: FileOperation
  /** As Node names them: `EIO`, `ENOSPC`, `EMFILE`, … */
  readonly code: string
  /** Only files and directories whose path ends with this. */
  readonly pathEnd?: string
  /** So many matching calls succeed first; default 0. */
  readonly after?: number
  /** So many fail then; default 1. */
  readonly times?: number
  /** Bytes a failing write leaves behind; default 0. */
  readonly tornBytes?: number
}

interface PendingFault {
  readonly fault: Fault
  skipCount: number
  leftCount: number
}

/** The failures to come, in the order they were asked for. */
export class FaultQueue {
  #pending: PendingFault[] = []

  add(fault: Fault): void {
    this.#pending.push({ fault, skipCount: fault.after ?? 0, leftCount: fault.times ?? 1 })
  }

  /** The failure this call is to have; it counts as had. */
  take(operation: FileOperation, path: string): Fault | undefined {
    const due = this.#pending.find(({ fault }) => fault.operation === operation && path.endsWith(fault.pathEnd ?? ''))
    if (due === undefined) return undefined
    if (due.skipCount > 0) {
      due.skipCount--
      return undefined
    }
    due.leftCount--
    if (due.leftCount === 0) this.#pending = this.#pending.filter((one) => one !== due)
    return due.fault
  }
}

export function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}
