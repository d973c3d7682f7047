/** The directory of one partition and the file in it that says whose it is. Names are for people; the topic id decides. */
import { TidemarkError } from '../protocol/errors.ts'
import type { Files, Log } from '../runtime/runtime.ts'
import { readSmallFile, writeFileAtomic } from '../runtime/atomic-file.ts'
import { inGroups, jsonFile, parseJsonFile, whyUnreadable } from './data-dir-files.ts'
import { asideName, DELETED_SUFFIX, LOG_SUFFIX, PARTITION_FILE, STRAY_SUFFIX } from './file-names.ts'
import { damaged } from './segment-files.ts'

/** Files read at the same time. */
const CONCURRENCY = 32

export interface PresentLog {
  readonly topic: string
  readonly partition: number
  readonly topicId: string
}

interface Surroundings {
  readonly files: Files
  readonly log: Log
}

/**
 * Makes the directory, durably, or checks that it is the one meant. One of an earlier topic of that name, which was deleted and made anew while
 * this node was away, makes room: it is kept, under another name. Throws `DATA_DIR_INVALID` or `CORRUPT_LOG`, and then nothing was changed.
 */
export async function claimPartitionDirectory({ files, log }: Surroundings, directory: string, wanted: PresentLog): Promise<void> {
  const present = await readPartitionFile(files, directory)
  if (present?.topicId === wanted.topicId && present.partition === wanted.partition) return
  if (present !== undefined) {
    const aside = strayPath(directory, present)
    log.warn('partition.set-aside', { topic: present.topic, partition: present.partition, topicId: present.topicId, path: aside })
    await files.rename(directory, aside)
  }
  await makePartitionDirectory(files, directory, wanted)
}

/** Only the metadata may say that data can go, and it knows nothing of these any more. */
function strayPath(directory: string, { topicId, partition }: PresentLog): string {
  const at = directory.lastIndexOf('/') + 1
  return directory.slice(0, at) + asideName(directory.slice(at), `${topicId}-${partition}`, STRAY_SUFFIX)
}

/** Undefined when there is no such file. Throws `CORRUPT_LOG` when it is damaged. */
export async function readPartitionFile(files: Files, directory: string): Promise<PresentLog | undefined> {
  const path = `${directory}/${PARTITION_FILE}`
  const content = await readSmallFile(files, path)
  if (content === undefined) return undefined
  const { topic, partition, topicId } = parseJsonFile(content) ?? {}
  if (typeof topic !== 'string' || typeof partition !== 'number' || typeof topicId !== 'string')
    throw damaged(`${path}, which says whose the directory is, ${whyUnreadable(content)}`)
  return { topic, partition, topicId }
}

/** Whose directories there are. What is not a log's directory is left out, and said in the log. */
export async function findPresentLogs({ files, log }: Surroundings, topics: string): Promise<PresentLog[]> {
  const names = (await files.list(topics)).filter((name) => !name.endsWith(DELETED_SUFFIX))
  const found: PresentLog[] = []
  await inGroups(names, CONCURRENCY, async (name) => {
    try {
      const present = await readPartitionFile(files, `${topics}/${name}`)
      if (present !== undefined) found.push(present)
    } catch (error) {
      log.error('partition.unreadable', { path: `${topics}/${name}`, error: TidemarkError.from(error).message })
    }
  })
  return found
}

async function makePartitionDirectory(files: Files, directory: string, { topic, partition, topicId }: PresentLog): Promise<void> {
  await files.makeDirectory(directory)
  const names = await files.list(directory)
  if (names.some((name) => name.endsWith(LOG_SUFFIX))) {
    throw new TidemarkError(
      'DATA_DIR_INVALID',
      `${directory} has data but no ${PARTITION_FILE}, so nobody knows whose; it was left as it is`,
    )
  }
  await writeFileAtomic(files, directory, PARTITION_FILE, jsonFile({ topic, partition, topicId }))
  await files.syncDirectory(directory.slice(0, directory.lastIndexOf('/')))
}
