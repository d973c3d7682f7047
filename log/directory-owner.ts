/** Whose a data directory is, and how its last owner left it. */
import { TidemarkError } from '../protocol/errors.ts'
import { encodeUuid } from '../protocol/ids.ts'
import { invariant } from '../runtime/invariant.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { type DataDirIdentity, markCleanShutdown, readIdentity, takeCleanShutdown, writeIdentity } from './data-dir-identity.ts'

export class DirectoryOwner {
  readonly #path: string
  readonly #runtime: Pick<Runtime, 'files' | 'random'>
  #identity: DataDirIdentity | undefined
  /** The last process that used it stopped in order. */
  readonly wasCleanShutdown: boolean
  /** The node epoch under which the directory was closed cleanly; 0 after an unclean stop. */
  readonly cleanShutdownEpoch: number
  /** Under which epoch it is used, and until there is a new one was left: said by the mark of a clean shutdown. */
  nodeEpoch: number

  private constructor(
    path: string,
    runtime: Pick<Runtime, 'files' | 'random'>,
    last: { readonly identity: DataDirIdentity | undefined; readonly wasClean: boolean; readonly nodeEpoch: number },
  ) {
    this.#path = path
    this.#runtime = runtime
    this.#identity = last.identity
    this.wasCleanShutdown = last.wasClean
    this.cleanShutdownEpoch = this.nodeEpoch = last.nodeEpoch
  }

  /** Takes the mark of a clean shutdown away. Throws `DATA_DIR_INVALID`, and then changes nothing. */
  static async open(path: string, runtime: Pick<Runtime, 'files' | 'random'>): Promise<DirectoryOwner> {
    const identity = await readIdentity(runtime.files, path)
    return new DirectoryOwner(path, runtime, { ...(await takeCleanShutdown(runtime.files, path)), identity })
  }

  /** Undefined in a new directory. */
  get identity(): DataDirIdentity | undefined {
    return this.#identity
  }

  /**
   * Says whose directory it is: a new one gets an id, an old one is compared (`DATA_DIR_INVALID`). Counts the start, durably: an earlier image of the
   * directory is told by its count.
   */
  async claim(nodeId: number): Promise<DataDirIdentity> {
    const present = this.#identity ?? { clusterId: '', nodeId, directoryId: this.#newId(), starts: 0, imageOf: '' }
    if (present.nodeId === nodeId) return this.#write({ ...present, starts: present.starts + 1 })
    throw new TidemarkError(
      'DATA_DIR_INVALID',
      `${this.#path} belongs to node ${present.nodeId} of cluster ${present.clusterId || '(none yet)'}, not to node ${nodeId}`,
    )
  }

  /** Says of which cluster the claimed directory is. Throws `DATA_DIR_INVALID` when it is another's. */
  async joinCluster(clusterId: string): Promise<void> {
    const present = this.#identity
    invariant(present !== undefined, 'a directory is claimed before it joins')
    if (present.clusterId === clusterId) return
    if (present.clusterId !== '')
      throw new TidemarkError('DATA_DIR_INVALID', `${this.#path} belongs to cluster ${present.clusterId}, and this is cluster ${clusterId}`)
    await this.#write({ ...present, clusterId })
  }

  /** It is an older image of itself: what its node has promised since is not in it. From now on it is another directory. */
  async renew(): Promise<void> {
    const present = this.#identity
    invariant(present !== undefined, 'a directory is claimed before anybody knows of it')
    await this.#write({ ...present, directoryId: this.#newId(), imageOf: present.directoryId })
  }

  /** Everything in the directory is durable: the last thing that is done to it. */
  leaveClean(): Promise<void> {
    return markCleanShutdown(this.#runtime.files, this.#path, this.nodeEpoch)
  }

  #newId(): string {
    return encodeUuid(this.#runtime.random.bytes(16))
  }

  async #write(identity: DataDirIdentity): Promise<DataDirIdentity> {
    await writeIdentity(this.#runtime.files, this.#path, identity)
    this.#identity = identity
    return identity
  }
}
