import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { openLevelStore } from '../../controller/level-store.ts'
import { MemoryStore } from '../../controller/memory-store.ts'
import { describeMetadataStore } from '../conformance/metadata-store.ts'

const directories: string[] = []

afterAll(async () => {
  for (const directory of directories) await rm(directory, { recursive: true, force: true })
})

describeMetadataStore('LevelStore', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-controller-'))
  directories.push(directory)
  return () => openLevelStore(join(directory, 'controller', 'log'))
})

describeMetadataStore('MemoryStore', async () => {
  const store = new MemoryStore()
  return async () => store
})
