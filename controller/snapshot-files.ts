/** Snapshots of the metadata as files: `<index>-<term>.snapshot`, a CRC-32C and an encoded `QuorumSnapshot`. */
import { crc32c } from '../protocol/crc32c.ts'
import { readSmallFile, writeFileAtomic } from '../runtime/atomic-file.ts'
import type { Files } from '../runtime/runtime.ts'
import { snapshotFromBytes } from './quorum-codec.ts'
import type { Snapshot } from './raft/messages.ts'

const NAME = /^([0-9]+)-[0-9]+\.snapshot$/

export class SnapshotFiles {
  readonly #directory: string
  readonly #files: Files

  constructor(directory: string, files: Files) {
    this.#directory = directory
    this.#files = files
  }

  /** Durable when it resolves. */
  async write({ meta, data }: Snapshot): Promise<void> {
    const content = Buffer.allocUnsafe(4 + data.length)
    content.set(data, 4)
    content.writeUInt32BE(crc32c(content, 4), 0)
    await writeFileAtomic(this.#files, this.#directory, `${meta.index}-${meta.term}.snapshot`, content)
  }

  /** The snapshot of entry `index`; undefined when there is none, or none that is whole. */
  async read(index: number): Promise<Snapshot | undefined> {
    const name = (await this.#names()).find((candidate) => indexOf(candidate) === index)
    const content = name === undefined ? undefined : await readSmallFile(this.#files, `${this.#directory}/${name}`)
    if (content === undefined || content.length < 4 || crc32c(content, 4) !== content.readUInt32BE(0)) return undefined
    return snapshotFromBytes(content.subarray(4))
  }

  async removeOthers(index: number): Promise<void> {
    for (const name of await this.#names()) {
      if (indexOf(name) !== index) await this.#files.remove(`${this.#directory}/${name}`)
    }
  }

  async #names(): Promise<string[]> {
    return (await this.#files.list(this.#directory)).filter((name) => NAME.test(name))
  }
}

function indexOf(name: string): number {
  return Number(NAME.exec(name)?.[1])
}
