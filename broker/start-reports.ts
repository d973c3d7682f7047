/** What a node that starts has found in its data directory and has to say. */
import type { MetadataImage } from '../controller/metadata/image.ts'
import type { DataDir } from '../log/data-dir.ts'
import type { Log } from '../runtime/runtime.ts'
import type { PartitionRegistry } from './partition-registry.ts'

/** Directories that no topic claims are kept: only the metadata may say that data can go. */
export async function reportStrays(dataDir: DataDir, { topics }: MetadataImage, log: Log): Promise<void> {
  for (const { topic, partition, topicId } of await dataDir.presentLogs()) {
    if (topics.get(topic)?.topicId !== topicId) log.warn('partition.stray', { topic, partition, topicId })
  }
}

/** Who stopped without closing its logs may have lost what was only in the page cache. Nobody shall have to guess that. */
export function reportUnclean(partitions: PartitionRegistry, log: Log): void {
  const unsure = partitions.all().filter(({ config }) => config.durability !== 'fsync')
  if (unsure.length > 0) log.warn('partitions.unsure', { partitionCount: unsure.length, example: unsure[0]?.name })
}
