/** What a node knows of the cluster: the image as far as it has followed the metadata log, who is told of changes, who waits for one. */
import { TidemarkError } from '../protocol/errors.ts'
import type { MetadataBatch, MetadataSnapshot } from '../protocol/gen/tidemark/v1/metadata.ts'
import type { Timers } from '../runtime/runtime.ts'
import { type Applied, applyBatch } from './metadata/apply.ts'
import { compareImages } from './metadata/compare.ts'
import { EMPTY_IMAGE, type MetadataDelta, type MetadataImage } from './metadata/image.ts'
import { checkFeatureLevel } from './metadata/nodes.ts'
import { imageFromSnapshot, imageToSnapshot } from './metadata/snapshot.ts'
import type { LogFollower } from './metadata-log.ts'
import { VersionWaiters } from './version-waiters.ts'

/** Told of every change, in order. Must not throw: the node would have seen only half of it, so its metadata log fails. */
export type MetadataListener = (image: MetadataImage, delta: MetadataDelta) => void

export class MetadataView implements LogFollower {
  readonly #listeners = new Set<MetadataListener>()
  readonly #waiters: VersionWaiters
  #image = EMPTY_IMAGE
  #isClosed = false

  constructor(timers: Timers) {
    this.#waiters = new VersionWaiters(timers)
  }

  get image(): MetadataImage {
    return this.#image
  }

  /** Calls `listener` after every change, in order. Returns how to stop. */
  subscribe(listener: MetadataListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Resolves when the image is newer than `version`, after `timeoutMs`, when `signal` aborts or the view closes. Rejects with `BUSY` when too many wait. */
  async waitForVersion(version: number, options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<void> {
    if (this.#isClosed || this.#image.version > version) return
    await this.#waiters.wait(version, options)
  }

  apply(offset: number, batch: MetadataBatch): void {
    this.#become(() => applyBatch(this.#image, offset, batch))
  }

  load(snapshot: MetadataSnapshot): void {
    this.#become(() => {
      const image = imageFromSnapshot(snapshot)
      return { image, delta: compareImages(this.#image, image) }
    })
  }

  takeSnapshot(): MetadataSnapshot {
    return imageToSnapshot(this.#image)
  }

  /** Lets go of who waits. */
  close(): void {
    this.#isClosed = true
    this.#waiters.releaseAll()
    this.#listeners.clear()
  }

  #become(next: () => Applied): void {
    const { image, delta } = understood(next)
    this.#image = image
    for (const listener of [...this.#listeners]) listener(image, delta)
    this.#waiters.reached(image.version)
  }
}

/** What cannot be explained here was not decided by this version: a log it must not work on. */
function understood(next: () => Applied): Applied {
  try {
    const applied = next()
    checkFeatureLevel(applied.image)
    return applied
  } catch (error) {
    if (TidemarkError.is(error) && error.code === 'DATA_DIR_INVALID') throw error
    const message = error instanceof Error ? error.message : String(error)
    throw new TidemarkError('DATA_DIR_INVALID', `the metadata log cannot be applied: ${message}. Nothing was added to it`, { cause: error })
  }
}
