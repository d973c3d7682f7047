/**
 * The groups that a node coordinates, loaded when the first one is asked for, or when the metadata has the topic they are kept in: a node without groups pays
 * nothing for them.
 */
import type { TidemarkError } from '../protocol/errors.ts'
import type { GroupCoordinator } from './groups/coordinator.ts'

export class LateGroups {
  readonly #create: () => Promise<GroupCoordinator>
  #loading: Promise<GroupCoordinator> | undefined
  #present: GroupCoordinator | undefined
  /** Why it is closed. */
  #closed: TidemarkError | undefined

  constructor(create: () => Promise<GroupCoordinator>) {
    this.#create = create
  }

  /** Undefined before they are loaded. */
  get present(): GroupCoordinator | undefined {
    return this.#present
  }

  async load(): Promise<GroupCoordinator> {
    this.#loading ??= this.#create()
    const groups = await this.#loading
    if (this.#closed !== undefined) groups.close(this.#closed)
    this.#present = groups
    return groups
  }

  close(reason: TidemarkError): void {
    this.#closed ??= reason
    this.#present?.close(reason)
  }
}
